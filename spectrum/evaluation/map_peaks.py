"""Peaks of a map, in millimetres, each with the region that it lies nearest to.

Names are of two tables of centres that nilearn ships in its package: Dosenbach et al. (2010,
Science 329:1358-1361) for cortex and cerebellum, Seitzman et al. (2020, NeuroImage 206:116290) for
hippocampus, amygdala, basal ganglia and thalamus. A name comes with the distance to the region's
centre, as a peak need not lie in it. Not here: what the map means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.map_grid import MapGrid

__all__ = ["Peak", "find_peaks", "write_peaks"]

MIN_DISTANCE_MM: Final = 20.0
"""Between two peaks: about half a lobe, and two voxels of the coarsest shipped recipe."""

MAX_PEAKS: Final = 8

FAR_MM: Final = 20.0
"""A peak farther from every region's centre has no name."""

MIDLINE_MM: Final = 4.0
"""A region whose centre is nearer to the middle has no side."""

DEEP_OF_DOSENBACH: Final = ("basal ganglia", "thalamus")
"""Seven centres in all; Seitzman et al. have more of them."""

DEEP_NAMES: Final = {
    "hippocampus": "hippocampus",
    "amygdala": "amygdala",
    "basalGanglia": "basal ganglia",
    "thalamus": "thalamus",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """A local maximum: millimetres, value, and the nearest region with its distance."""

    x_mm: float
    y_mm: float
    z_mm: float
    value: float
    region: str
    distance_mm: float | None


def find_peaks(
    map_XYZ: NDArray[np.float64], inside_XYZ: NDArray[np.bool_], grid: MapGrid
) -> tuple[Peak, ...]:
    """Return the highest local maxima of a map's positive part, at most 8, the highest first.

    A voxel is one where none of its 26 neighbours is higher; of equals, as in a patch, the one
    nearest to their middle. Of two closer than 20 mm the higher one counts.
    """
    from scipy.ndimage import label, maximum_filter

    values = np.where(inside_XYZ, map_XYZ, -np.inf)
    is_top = (maximum_filter(values, size=3, mode="constant", cval=-np.inf) == values) & (
        values > 0
    )
    plateaus, num_plateaus = label(is_top, structure=np.ones((3, 3, 3)))
    tops = [_middle(np.argwhere(plateaus == number + 1)) for number in range(num_plateaus)]
    tops.sort(key=lambda top: -values[top])
    chosen: list[tuple[NDArray[np.float64], float]] = []
    for top in tops:
        place_mm = grid.affine[:3, :3] @ np.array(top) + grid.affine[:3, 3]
        if all(np.linalg.norm(place_mm - other) >= MIN_DISTANCE_MM for other, _ in chosen):
            chosen.append((place_mm, float(values[top])))
        if len(chosen) == MAX_PEAKS:
            break
    return tuple(
        _peak(place_mm, value, is_named=grid.space != "scanner") for place_mm, value in chosen
    )


def _middle(voxels_N3: NDArray[np.int64]) -> tuple[int, ...]:
    offsets = np.linalg.norm(voxels_N3 - voxels_N3.mean(axis=0), axis=1)
    return tuple(int(index) for index in voxels_N3[int(offsets.argmin())])


def _peak(place_mm: NDArray[np.float64], value: float, *, is_named: bool) -> Peak:
    x_mm, y_mm, z_mm = (round(float(part), 1) for part in place_mm)
    region, distance_mm = _nearest(place_mm) if is_named else ("", None)
    return Peak(
        x_mm=x_mm, y_mm=y_mm, z_mm=z_mm, value=value, region=region, distance_mm=distance_mm
    )


def _nearest(place_mm: NDArray[np.float64]) -> tuple[str, float | None]:
    names, centres = _regions()
    distances = np.linalg.norm(centres - place_mm, axis=1)
    nearest = int(distances.argmin())
    if distances[nearest] > FAR_MM:
        return "", None
    x_mm = centres[nearest][0]
    side = "" if abs(x_mm) < MIDLINE_MM else ("left " if x_mm < 0 else "right ")
    return side + names[nearest], round(float(distances[nearest]), 1)


@cache
def _regions() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return names and centres, read from files inside nilearn's package; nothing is fetched."""
    from nilearn.datasets import fetch_coords_dosenbach_2010, fetch_coords_seitzman_2018

    cortex = fetch_coords_dosenbach_2010(ordered_regions=False)
    deep = fetch_coords_seitzman_2018(ordered_regions=False)
    named = [
        (re.sub(r"\s*\d+$", "", str(name)), centre)
        for name, centre in zip(cortex.labels, _centres(cortex.rois), strict=True)
    ]
    named = [(name, centre) for name, centre in named if name not in DEEP_OF_DOSENBACH]
    named += [
        (DEEP_NAMES[region], centre)
        for region, centre in zip(deep.regions, _centres(deep.rois), strict=True)
        if region in DEEP_NAMES
    ]
    return tuple(name for name, _ in named), np.array([centre for _, centre in named])


def _centres(rois: Any) -> NDArray[np.float64]:
    return np.array(rois[["x", "y", "z"]], dtype=np.float64)


def write_peaks(path: Path, peaks: Iterable[tuple[str, str, Peak]]) -> None:
    """Write the peaks of maps as a table; each comes with its method and its class."""
    rows = [{"method": method, "class": name, **asdict(peak)} for method, name, peak in peaks]
    names = ("method", "class", "x_mm", "y_mm", "z_mm", "value", "region", "distance_mm")
    lines = ["\t".join(names), *("\t".join(_text(row[name]) for name in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(value: Any) -> str:
    if value is None or value == "":
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
