"""All volumes on the device as one float16 tensor, and batches indexed from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spectrum.data.units import SequenceData

__all__ = ["ResidentData"]

VOLUMES_LOOKED_AT = 1000
"""Enough to know a level by, few enough to take no time."""


@dataclass(frozen=True, slots=True)
class ResidentData:
    """Slices and indices of a data set on one device; shared by all folds of a trial."""

    source: SequenceData
    slices_VSHW: Tensor
    first_volume: Tensor
    class_index: Tensor
    volume_of_sequence: Tensor

    @classmethod
    def place(cls, data: SequenceData, device: torch.device) -> ResidentData:
        """Copy the data to a device; on the CPU the slices stay where they are."""
        return cls(
            source=data,
            slices_VSHW=torch.from_numpy(data.slices_VSHW).to(device),
            first_volume=torch.from_numpy(data.first_volume_of_sequence).to(device),
            class_index=torch.from_numpy(data.table.class_of_sequence).to(device),
            volume_of_sequence=torch.arange(data.table.num_volumes, device=device),
        )

    def level(self, sequences: Tensor) -> float:
        """Return the root mean square of the voxels that are not zero, 1.0 where all are.

        Volumes of ``sequences`` are looked at, ``VOLUMES_LOOKED_AT`` of them at most.
        """
        rows = torch.unique(self.first_volume[sequences][:, None] + self.volume_of_sequence)
        rows = rows[:: math.ceil(len(rows) / VOLUMES_LOOKED_AT)]
        voxels = self.slices_VSHW.index_select(0, rows).float()
        count = int((voxels != 0).sum())
        return math.sqrt(float(voxels.double().square().sum()) / count) if count else 1.0

    @property
    def device(self) -> torch.device:
        """Where the data lies."""
        return self.slices_VSHW.device

    def read(self, sequences: Tensor) -> Tensor:
        """Return the float32 slices (B, T, S, H, W) of some sequences (B,)."""
        rows_BT = self.first_volume[sequences][:, None] + self.volume_of_sequence
        slices = self.slices_VSHW.index_select(0, rows_BT.flatten())
        return slices.view(*rows_BT.shape, *slices.shape[1:]).float()
