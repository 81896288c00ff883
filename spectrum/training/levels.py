"""How large the voxels of a training set are: one number, the same however they are fed.

Sums are taken volume by volume in double precision on the CPU, in the order of the runs, so that
every mode of feeding adds up the same numbers in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceTable

__all__ = ["VolumeSum", "places_looked_at", "root_mean_square", "sum_of_volume"]

VOLUMES_LOOKED_AT = 1000
"""Enough to know a level by, few enough to take no time."""

VolumeSum = tuple[float, int]
"""Sum of the squares of a volume's voxels, and how many are not zero."""


def places_looked_at(
    table: SequenceTable, sequences: NDArray[np.int64]
) -> list[tuple[int, NDArray[np.int64]]]:
    """Return which volumes tell the level of some sequences: run index, and volumes within it.

    Of all volumes in the sequences, ``VOLUMES_LOOKED_AT`` at most, evenly spaced, in order.
    """
    volumes = table.volumes_of_sequence[sequences]
    runs = np.broadcast_to(table.run_of_sequence[sequences][:, None], volumes.shape)
    places = np.unique(np.stack([runs.ravel(), volumes.ravel()]), axis=1)
    places = places[:, :: max(1, math.ceil(places.shape[1] / VOLUMES_LOOKED_AT))]
    return [(int(run), places[1, places[0] == run]) for run in np.unique(places[0])]


def sum_of_volume(slices_SHW: NDArray[np.float16]) -> VolumeSum:
    """Return the sum of squares of one contiguous volume, and its voxels that are not zero."""
    return float(np.square(slices_SHW, dtype=np.float64).sum()), int(np.count_nonzero(slices_SHW))


def root_mean_square(sums: Iterable[VolumeSum]) -> float:
    """Return the root mean square of the voxels that are not zero, 1.0 where all are."""
    total, count = 0.0, 0
    for squares, num_voxels in sums:
        total, count = total + squares, count + num_voxels
    return math.sqrt(total / count) if count else 1.0
