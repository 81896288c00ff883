"""What is changed in training slices at random, drawn for the global batch and cut by worker.

Values are drawn for all sequences of a batch, whatever part of it a worker computes, so that the
numbers of a fit do not depend on the number of workers. Each kind of change has numbers of its
own, so one that is switched on leaves the draws of the others alone. Order of the changes: mirror,
rotation and shift, hidden volumes, intensity, noise, cut cuboid, dropped slices; after the first
two, voxels that are zero (outside the brain) stay zero. Not here: the arithmetic (``transforms``).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from spectrum.config import TrainingConfig
from spectrum.training.seeds import derived_seed
from spectrum.training.transforms import (
    adjust_intensity,
    cut_cuboid,
    hide_volumes,
    mirror,
    move_in_plane,
    radians,
)

__all__ = ["LEFT_RIGHT_AXIS", "Augmentation"]

LEFT_RIGHT_AXIS: Final = {"axial": 4, "coronal": 4, "sagittal": 2}
"""Axis of B, T, S, H, W that runs from left to right of the head, by plane."""


class Augmentation:
    """All changes of the training slices of one epoch of one fold; call ``apply`` batch by batch.

    Parameters
    ----------
    config : the fields that end in ``_fraction``, ``_degrees`` and ``_std`` are read
    level : root mean square of the training voxels, the unit of noise and of intensity shifts
    seed : of this epoch of this fold
    device : where batches lie
    left_right_axis : of B, T, S, H, W
    """

    def __init__(
        self,
        config: TrainingConfig,
        *,
        level: float,
        seed: int,
        device: torch.device,
        left_right_axis: int = LEFT_RIGHT_AXIS["axial"],
    ) -> None:
        self.config = config
        self.level = level
        self.seed = seed
        self.device = device
        self.left_right_axis = left_right_axis
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(seed)
        self.batch_index = -1

    def apply(self, slices_BTSHW: Tensor, *, part: slice, num_global: int) -> Tensor:
        """Return changed slices of one worker's part of the next global batch.

        Parameters
        ----------
        slices_BTSHW : the sequences of ``part`` only
        part : where they stand in the global batch
        num_global : sequences of the global batch, over all workers
        """
        self.batch_index += 1
        for change in (
            self._mirror,
            self._move,
            self._hide_volumes,
            self._adjust_intensity,
            self._add_noise,
            self._cut_cuboid,
            self._drop_slices,
        ):
            slices_BTSHW = change(slices_BTSHW, part, num_global)
        return slices_BTSHW

    def _draw(self, use: str, part: slice, num_global: int, width: int = 1) -> Tensor:
        """Return even numbers in [0, 1) for a part of this batch, (B, width), on the device.

        They are drawn on the CPU, so that they are the same on every device, and sent there
        without waiting for what the device still computes.
        """
        generator = torch.Generator()
        generator.manual_seed(derived_seed(self.seed, self.batch_index, use))
        drawn = torch.rand((num_global, width), generator=generator)[part]
        return drawn.to(self.device, non_blocking=True)

    def _mirror(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        if not self.config.mirror_fraction:
            return slices_BTSHW
        chance_B = self._draw("mirror", part, num_global)[:, 0]
        is_mirrored_B = chance_B < self.config.mirror_fraction
        return mirror(slices_BTSHW, is_mirrored_B, axis=self.left_right_axis)

    def _move(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        degrees, fraction = self.config.rotation_degrees, self.config.shift_fraction
        if not degrees and not fraction:
            return slices_BTSHW
        angle_B = radians(_either_side(self._draw("rotation", part, num_global), degrees)[:, 0])
        shift_B2 = _either_side(self._draw("shift", part, num_global, 2), fraction)
        return move_in_plane(slices_BTSHW, angle_B, shift_B2)

    def _hide_volumes(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        num_volumes = slices_BTSHW.shape[1]
        longest = min(math.ceil(self.config.temporal_mask_fraction * num_volumes), num_volumes - 1)
        if longest <= 0:
            return slices_BTSHW
        drawn_B2 = self._draw("temporal mask", part, num_global, 2)
        length_B1 = torch.floor(drawn_B2[:, :1] * (longest + 1))
        start_B1 = torch.floor(drawn_B2[:, 1:] * (num_volumes - length_B1 + 1))
        volume = torch.arange(num_volumes, device=self.device)
        is_hidden_BT = (volume >= start_B1) & (volume < start_B1 + length_B1)
        return hide_volumes(slices_BTSHW, is_hidden_BT)

    def _adjust_intensity(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        scale, shift = self.config.intensity_scale_fraction, self.config.intensity_shift_fraction
        if not scale and not shift:
            return slices_BTSHW
        drawn_B2 = self._draw("intensity", part, num_global, 2)
        factor_B = 1.0 + _either_side(drawn_B2[:, 0], scale)
        return adjust_intensity(
            slices_BTSHW, factor_B, _either_side(drawn_B2[:, 1], shift * self.level)
        )

    def _add_noise(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        if not self.config.noise_std:
            return slices_BTSHW
        shape = (num_global, *slices_BTSHW.shape[1:])
        noise = torch.randn(shape, generator=self.generator, device=self.device)[part]
        std = self.config.noise_std * self.level
        return torch.addcmul(slices_BTSHW, noise, slices_BTSHW != 0, value=std)

    def _cut_cuboid(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        if not self.config.spatial_mask_fraction:
            return slices_BTSHW
        drawn_B4 = self._draw("spatial mask", part, num_global, 4)
        share_B = drawn_B4[:, 0] * self.config.spatial_mask_fraction
        return cut_cuboid(slices_BTSHW, share_B, drawn_B4[:, 1:])

    def _drop_slices(self, slices_BTSHW: Tensor, part: slice, num_global: int) -> Tensor:
        if not self.config.slice_drop_fraction:
            return slices_BTSHW
        shape = (num_global, 1, slices_BTSHW.shape[2], 1, 1)
        chance = torch.rand(shape, generator=self.generator, device=self.device)[part]
        return slices_BTSHW * (chance >= self.config.slice_drop_fraction)


def _either_side(drawn: Tensor, most: float) -> Tensor:
    """Spread numbers in [0, 1) evenly from minus ``most`` to plus ``most``."""
    return (2.0 * drawn - 1.0) * most
