"""Numbers of a run's brain mask: what the floor cannot see, and a model can.

Without ``normalization: mni152`` each run's mask comes from its own mean image, so that its size
and shape may carry what the image's brightness carries. They are numbers of a recipe, not of the
image as scanned: they stand beside the floor, which is the same for all recipes. Not here: how
masks are made (``data.grids``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectrum.evaluation.predictors import Predictors

if TYPE_CHECKING:
    from spectrum.data.shards import ShardSet
    from spectrum.data.units import SequenceTable

__all__ = ["mask_numbers", "mask_predictors"]


def mask_predictors(shards: ShardSet, table: SequenceTable) -> Predictors:
    """Return the numbers of the masks of each unit's run; no column where no run is masked."""
    reader = shards.reader()
    runs = shards.manifest.runs
    numbers = {index: mask_numbers(reader.read_run(runs[index])) for index in table.used_runs}
    names = tuple(sorted({name for row in numbers.values() for name in row}))
    rows = [[numbers[u.run_index].get(name, np.nan) for name in names] for u in table.units]
    return Predictors(names=names, values=np.array(rows, dtype=np.float64).reshape(-1, len(names)))


def mask_numbers(slices_VSHW: NDArray[np.float16]) -> dict[str, float]:
    """Measure the mask of a run: the voxels that are not 0 in the first, middle and last volume.

    Returns
    -------
    numbers
        ``mask_voxels``; ``mask_surface``, the share of them with a neighbour outside;
        ``mask_centre_<axis>`` and ``mask_spread_<axis>`` along slices, rows and columns, in
        voxels. Nothing where all voxels are inside: the recipe has no mask.
    """
    from scipy.ndimage import binary_erosion

    chosen = sorted({0, len(slices_VSHW) // 2, len(slices_VSHW) - 1})
    inside_SHW = (np.asarray(slices_VSHW[chosen]) != 0).any(axis=0)
    if inside_SHW.all() or not inside_SHW.any():
        return {}
    places = np.argwhere(inside_SHW)
    numbers = {
        "mask_voxels": float(len(places)),
        "mask_surface": 1.0 - float(binary_erosion(inside_SHW).sum()) / len(places),
    }
    for axis, centre, spread in zip("SHW", places.mean(axis=0), places.std(axis=0), strict=True):
        numbers |= {f"mask_centre_{axis}": float(centre), f"mask_spread_{axis}": float(spread)}
    return numbers
