"""Where slices lie and when volumes come, in millimetres and seconds, run by run.

Runs of one shard set share a number of slices, not always their distance: the ``common`` grid has
the recipe's, ``native`` and ``matrix`` that of each run's field of view. Not here: grids
themselves (``grids``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceTable

if TYPE_CHECKING:
    from spectrum.config import PreprocessingConfig
    from spectrum.data.manifest import ShardManifest, ShardRun

__all__ = ["place_table", "slice_centres_mm", "slice_step_mm"]

STACKED_AXIS: Final = {"axial": 2, "coronal": 1, "sagittal": 0}
"""Axis of X, Y, Z along which the slices of a plane are stacked."""


def place_table(table: SequenceTable, manifest: ShardManifest, plane: str) -> SequenceTable:
    """Return a table that knows each run's repetition time and distance of slices."""
    runs = manifest.runs
    steps_mm = (slice_step_mm(run, manifest.recipe, plane) for run in runs)
    return replace(
        table,
        tr_s_of_run=tuple(run.tr_s for run in runs),
        slice_step_mm_of_run=tuple(steps_mm),
    )


def slice_step_mm(run: ShardRun, recipe: PreprocessingConfig, plane: str) -> float:
    """Return the millimetres between the centres of neighbouring slices of a run's volumes.

    The manifest tells voxels and sides along the axes of the file. Those of a ``native`` run are
    found by their sides where the file has another order of axes; those of a ``matrix`` run are
    taken to be X, Y and Z, as BOLD is stored.
    """
    axis = STACKED_AXIS[plane]
    if recipe.grid == "common":
        return recipe.voxel_mm
    if recipe.grid == "matrix":
        assert recipe.matrix is not None
        return run.voxel_mm[axis] * run.source_shape[axis] / recipe.matrix[axis]
    return run.voxel_mm[_axis_of_file(run, axis)]


def slice_centres_mm(num_slices: int, step_mm: float) -> NDArray[np.float64]:
    """Return the centres of a stack's slices, (S,), millimetres from the middle of the stack.

    Examples
    --------
    >>> slice_centres_mm(4, 3.0).tolist()
    [-4.5, -1.5, 1.5, 4.5]
    """
    centres_mm: NDArray[np.float64] = np.arange(num_slices, dtype=np.float64) * step_mm
    return centres_mm - (num_slices - 1) / 2.0 * step_mm


def _axis_of_file(run: ShardRun, axis: int) -> int:
    """Return the axis of the file that became X, Y or Z: the same, or the one of that side."""
    sides, wanted = run.source_shape[:3], run.shape_SHW[::-1]
    candidates = [index for index, side in enumerate(sides) if side == wanted[axis]]
    return axis if sides == wanted or len(candidates) != 1 else candidates[0]
