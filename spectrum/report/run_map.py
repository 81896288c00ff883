"""The figure of what one class of one run rests on: slices of its mean, with the map over them.

Not here: maps of a study on the MNI template (``attention``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectrum.report.theme import Theme, new_figure

__all__ = ["draw_run_map"]

NUM_SLICES: Final = 7
THRESHOLD: Final = 0.2
"""Share of the largest magnitude below which nothing is drawn."""


def draw_run_map(
    theme: Theme,
    *,
    background_XYZ: NDArray[Any],
    map_XYZ: NDArray[Any],
    inside_XYZ: NDArray[np.bool_],
    voxel_mm: tuple[float, float],
) -> Figure:
    """Draw axial slices from below to above, the front up, with the map over its largest value.

    Parameters
    ----------
    background_XYZ : what lies below the map
    map_XYZ : of the same shape
    inside_XYZ : the voxels that count
    voxel_mm : sizes along X and Y
    """
    values = np.where(inside_XYZ, map_XYZ, 0.0)
    largest = float(np.abs(values).max()) or 1.0
    shown = np.ma.masked_inside(values / largest, -THRESHOLD, THRESHOLD)
    cuts = _cuts(inside_XYZ)
    figure, row = new_figure(1.75, columns=len(cuts), squeeze=False)
    high = float(np.percentile(background_XYZ[inside_XYZ], 99)) if inside_XYZ.any() else 1.0
    for axes, z in zip(row[0], cuts, strict=True):
        how: dict[str, Any] = {"origin": "lower", "aspect": voxel_mm[1] / voxel_mm[0]}
        axes.imshow(background_XYZ[:, :, z].T, cmap="gray", vmin=0.0, vmax=high or 1.0, **how)
        drawn = axes.imshow(shown[:, :, z].T, cmap="RdBu_r", vmin=-1.0, vmax=1.0, alpha=0.8, **how)
        axes.set_axis_off()
        axes.set_title(f"slice {z}", fontsize=8)
    bar = figure.colorbar(drawn, ax=list(row[0]), shrink=0.8, ticks=[-1, 0, 1])
    bar.set_label("share of the largest", color=theme.ink, fontsize=8)
    return figure


def _cuts(inside_XYZ: NDArray[np.bool_]) -> list[int]:
    """Return slices spread over those that have a voxel inside, or over all."""
    held = np.flatnonzero(inside_XYZ.any(axis=(0, 1)))
    held = held if held.size else np.arange(inside_XYZ.shape[2])
    places = np.linspace(0, held.size - 1, min(NUM_SLICES, held.size)).round().astype(int)
    return [int(z) for z in held[places]]
