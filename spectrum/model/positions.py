"""Where a token stands, in units of the world: waves of millimetres or seconds, mapped to D.

Positions in units mean the same under every slice thickness and repetition time; a table of
vectors by index does not. Not here: the position of a patch in its slice, which is timm's.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["MM_WAVELENGTHS", "SECONDS_WAVELENGTHS", "WavePositions", "table"]

MM_WAVELENGTHS: Final = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
"""From twice the thickness of usual slices (Nyquist) to more than twice a head."""

SECONDS_WAVELENGTHS: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""From twice the shortest usual repetition time to more than the length of a run."""


STD_OF_TRUNCATED: Final = 0.8796256610342398
"""Standard deviation of a standard normal cut at +-2: its variance is
``1 - 4 phi(2) / (2 Phi(2) - 1)`` (Johnson, Kotz & Balakrishnan 1994, section 10.1)."""


class WavePositions(nn.Module):
    """``W [sin(2 pi x / wavelength); cos(2 pi x / wavelength)]`` of a position x.

    Parameters
    ----------
    width : D
    wavelengths : in the unit of the positions
    std : of a fresh embedding
    """

    wave_numbers: Tensor

    def __init__(self, width: int, wavelengths: tuple[float, ...], *, std: float) -> None:
        super().__init__()
        wave_numbers = torch.tensor([2.0 * math.pi / length for length in wavelengths])
        self.register_buffer("wave_numbers", wave_numbers, persistent=False)
        self.maps = nn.Linear(2 * len(wavelengths), width, bias=False)
        nn.init.normal_(self.maps.weight, std=std / math.sqrt(len(wavelengths)))

    def forward(self, positions_NP: Tensor) -> Tensor:
        """Return (N, P, D)."""
        phases = positions_NP.float()[..., None] * self.wave_numbers
        embedded: Tensor = self.maps(torch.cat([phases.sin(), phases.cos()], dim=-1))
        return embedded


def table(num_tokens: int, width: int, *, std: float) -> nn.Parameter:
    """Return fresh vectors (1, P, D), one for each index: normal, cut at two deviations.

    Parameters
    ----------
    num_tokens : P
    width : D
    std : of the values, after the cut
    """
    cut = nn.init.trunc_normal_(torch.empty(1, num_tokens, width), a=-2.0, b=2.0)
    return nn.Parameter(std / STD_OF_TRUNCATED * cut)
