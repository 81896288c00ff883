"""All volumes on the device as one float16 tensor, and batches indexed from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spectrum.data.units import SequenceData
from spectrum.training.factors import RecipeUnit
from spectrum.training.levels import VolumeSum, places_looked_at, root_mean_square, sum_of_volume

__all__ = ["ResidentData"]


@dataclass(frozen=True, slots=True)
class ResidentData:
    """Slices and indices of a data set on one device; shared by all folds of a trial."""

    source: SequenceData
    slices_VSHW: Tensor
    first_volume: Tensor
    class_index: Tensor
    offsets: Tensor
    unit: RecipeUnit

    @classmethod
    def place(cls, data: SequenceData, device: torch.device) -> ResidentData:
        """Copy the data to a device; on the CPU the slices stay where they are."""
        return cls(
            source=data,
            slices_VSHW=torch.from_numpy(data.slices_VSHW).to(device),
            first_volume=torch.from_numpy(data.first_volume_of_sequence).to(device),
            class_index=torch.from_numpy(data.table.class_of_sequence).to(device),
            offsets=torch.from_numpy(data.table.offsets).to(device),
            unit=RecipeUnit(data.table, device),
        )

    def level(self, sequences: Tensor) -> float:
        """Return the root mean square of the voxels that are not zero, 1.0 where all are.

        Volumes of ``sequences`` are looked at, ``levels.VOLUMES_LOOKED_AT`` of them at most.
        """
        return root_mean_square(self._iter_sums(sequences))

    @property
    def device(self) -> torch.device:
        """Where the data lies."""
        return self.slices_VSHW.device

    def read(self, sequences: Tensor) -> Tensor:
        """Return the float32 slices (B, T, S, H, W) of some sequences (B,), in recipe units."""
        rows_BT = self.first_volume[sequences][:, None] + self.offsets
        slices = self.slices_VSHW.index_select(0, rows_BT.flatten())
        slices_BTSHW = slices.view(*rows_BT.shape, *slices.shape[1:]).float()
        return self.unit.of_slices(slices_BTSHW, sequences)

    def iter_read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the float32 slices (B, T, S, H, W) of each part (B,) of sequences, in order."""
        return map(self.read, parts)

    def _iter_sums(self, sequences: Tensor) -> Iterator[VolumeSum]:
        places = places_looked_at(self.source.table, sequences.cpu().numpy())
        for run, volumes in places:
            rows = torch.from_numpy(volumes + self.source.first_volume_of_run[run])
            slices = self.slices_VSHW.index_select(0, rows.to(self.device)).cpu().numpy()
            yield from (self.unit.of_sum(sum_of_volume(volume), run) for volume in slices)
