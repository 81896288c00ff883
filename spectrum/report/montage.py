"""Mosaics of slices: one volume as a strip of tiles, with the outline of its mask.

Tiles are square in millimetres, right is right, front and top are up. Not here: where the strip
stands in a figure (``run_figure``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from spectrum.data.run_views import Volume

__all__ = ["Mosaic", "draw_mosaic", "gray_range", "mosaic_of"]

OUTLINE: Final = "#ffb000"
"""Reads on black, on gray and on white (Okabe and Ito 2008, made a little brighter)."""

GAP: Final = 0.04
"""Between tiles, over a tile's width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """A strip of tiles and the mask on it, rows from bottom to top; pixels are square."""

    values: NDArray[np.float32]
    inside: NDArray[np.bool_]

    def within_mask(self) -> Mosaic:
        """Return the strip without what lies outside the mask."""
        return replace(self, values=np.where(self.inside, self.values, np.float32(np.nan)))


def mosaic_of(volume: Volume, *, num_axial: int, sides: bool = True) -> Mosaic:
    """Return axial slices from the lowest to the highest of the mask, and a side and front view.

    Parameters
    ----------
    volume : to be shown
    num_axial : slices, >= 1; fewer where the mask has fewer
    sides : also the sagittal and the coronal slice through the middle of the mask
    """
    inside = volume.inside_XYZ if volume.inside_XYZ.any() else np.ones_like(volume.inside_XYZ)
    x, y, z = (np.flatnonzero(inside.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1)))
    levels = np.unique(np.linspace(z[0], z[-1], num_axial + 2)[1:-1].round().astype(int))
    cuts: list[tuple[tuple[int, int], Any]] = [
        ((0, 1), (slice(None), slice(None), level)) for level in levels
    ]
    if sides:
        middle = [int(side[len(side) // 2]) for side in (x, y)]
        cuts += [((1, 2), (middle[0], slice(None), slice(None)))]
        cuts += [((0, 2), (slice(None), middle[1], slice(None)))]
    pixel_mm = min(volume.voxel_mm)
    tiles = [
        tuple(
            _squared(array[cut], [volume.voxel_mm[axis] / pixel_mm for axis in axes])
            for array in (volume.values_XYZ, volume.inside_XYZ)
        )
        for axes, cut in cuts
    ]
    values, masks = zip(*tiles, strict=True)
    return Mosaic(values=_strip(values, np.nan), inside=_strip(masks, False))


def _squared(plane: NDArray[Any], factors: list[float]) -> NDArray[Any]:
    """Repeat voxels until pixels are square; rows are the second axis."""
    first, second = (
        np.minimum((np.arange(round(side * factor)) / factor).astype(int), side - 1)
        for side, factor in zip(plane.shape, factors, strict=True)
    )
    return plane[np.ix_(first, second)].T


def _strip(tiles: tuple[NDArray[Any], ...], blank: float | bool) -> NDArray[Any]:
    """Set tiles side by side, each in the middle of the strip's height."""
    height = max(tile.shape[0] for tile in tiles)
    gap = max(1, round(GAP * max(tile.shape[1] for tile in tiles)))
    padded = []
    for tile in tiles:
        below = (height - tile.shape[0]) // 2
        rows = (below, height - tile.shape[0] - below)
        padded.append(np.pad(tile, (rows, (gap // 2, gap - gap // 2)), constant_values=blank))
    return np.concatenate(padded, axis=1)


def gray_range(mosaic: Mosaic) -> tuple[float, float]:
    """Return what is black and what is white: 0, and nearly the brightest of the mask."""
    inside = mosaic.values[mosaic.inside & np.isfinite(mosaic.values)]
    high = float(np.percentile(inside, 99)) if inside.size else 1.0
    return min(0.0, float(inside.min(initial=0.0))), high if high > 0 else 1.0


def draw_mosaic(
    axes: Axes, mosaic: Mosaic, *, cmap: Any, limits: tuple[float, float], outline: str = OUTLINE
) -> Any:
    """Draw a strip on black with the outline of the mask; return the image."""
    axes.set_facecolor("black")
    image = axes.imshow(
        np.ma.masked_invalid(mosaic.values),
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        interpolation="nearest",
    )
    if mosaic.inside.any() and not mosaic.inside.all():
        axes.contour(
            mosaic.inside.astype(np.float32), levels=[0.5], colors=[outline], linewidths=0.7
        )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image
