"""Mixup: which sequence of a global batch is mixed with which other one, and how much.

Drawn on the CPU for the global batch, so that it does not depend on the number of workers or on
the device; a worker reads the partners of its own part besides the part itself. Slices are mixed
before all augmentation. Not here: the loss of a mixture (``step``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectrum.training.seeds import derived_seed

__all__ = ["Mixing", "draw_mixing"]


@dataclass(frozen=True, slots=True)
class Mixing:
    """Partner of each sequence of a batch (B,), and the share of the sequence itself (B,)."""

    partners: Tensor
    share_B: Tensor

    def part(self, own: slice) -> Mixing:
        """Return the mixing of a part of the batch."""
        return Mixing(self.partners[own], self.share_B[own])

    def mix(self, slices: Tensor) -> Tensor:
        """Return mixtures (B, T, S, H, W) of sequences and partners, (2 B, T, S, H, W)."""
        num = len(self.partners)
        share = self.share_B.view(num, 1, 1, 1, 1)
        return torch.lerp(slices[num:], slices[:num], share)


def draw_mixing(batch: Tensor, *, alpha: float, seed: int, batch_index: int) -> Mixing:
    """Draw partners and shares for a global batch of sequence indices (B,).

    Parameters
    ----------
    alpha : > 0, both parameters of the Beta distribution
    seed : of this epoch of this fold
    """
    rng = np.random.default_rng(derived_seed(seed, "mixup", batch_index))
    order = torch.from_numpy(rng.permutation(len(batch))).to(batch.device, non_blocking=True)
    share = rng.beta(alpha, alpha, size=len(batch))
    larger = torch.from_numpy(np.maximum(share, 1.0 - share)).float()
    return Mixing(partners=batch[order], share_B=larger.to(batch.device, non_blocking=True))
