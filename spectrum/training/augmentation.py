"""What is changed in training slices at random, drawn for the global batch and cut by worker.

Values are drawn for all sequences of a batch, whatever part of it a worker computes, so that the
numbers of a fit do not depend on the number of workers. Voxels that are zero (outside the brain)
stay zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectrum.config import TrainingConfig

__all__ = ["Augmentation"]


class Augmentation:
    """Gaussian noise and dropped slices, from a generator of its own.

    Parameters
    ----------
    config : noise_std and slice_drop_fraction are read
    level : root mean square of the training voxels, the unit of noise_std
    seed : of this epoch of this fold
    device : where batches lie
    """

    def __init__(
        self, config: TrainingConfig, *, level: float, seed: int, device: torch.device
    ) -> None:
        self.noise_std = config.noise_std * level
        self.slice_drop_fraction = config.slice_drop_fraction
        self.device = device
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(seed)

    def apply(self, slices_BTSHW: Tensor, *, part: slice, num_global: int) -> Tensor:
        """Return changed slices of one worker's part of a global batch.

        Parameters
        ----------
        slices_BTSHW : the sequences of ``part`` only
        part : where they stand in the global batch
        num_global : sequences of the global batch, over all workers
        """
        if self.noise_std:
            shape: tuple[int, ...] = (num_global, *slices_BTSHW.shape[1:])
            noise = torch.randn(shape, generator=self.generator, device=self.device)[part]
            is_brain = slices_BTSHW != 0
            slices_BTSHW = torch.addcmul(slices_BTSHW, noise, is_brain, value=self.noise_std)
        if self.slice_drop_fraction:
            shape = (num_global, 1, slices_BTSHW.shape[2], 1, 1)
            chance = torch.rand(shape, generator=self.generator, device=self.device)[part]
            slices_BTSHW = slices_BTSHW * (chance >= self.slice_drop_fraction)
        return slices_BTSHW
