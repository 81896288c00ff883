"""Numbers of acquisition and quality, per run and per volume, from the raw image.

They feed the confound floor and ride along in the shards; no recipe changes them. Definitions
follow MRIQC (Esteban et al. 2017) where it has them. Not here: what a score may do with them
(``spectrum.evaluation``).
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import SidecarError

__all__ = [
    "MAX_TABLE_BYTES",
    "RUN_QUALITY_NAMES",
    "VOLUME_QUALITY_NAMES",
    "RunQuality",
    "measure_quality",
    "otsu_threshold",
    "read_displacement",
    "with_displacement",
]

RUN_QUALITY_NAMES: Final = (
    "num_slices",
    "num_volumes",
    "voxel_x_mm",
    "voxel_y_mm",
    "voxel_z_mm",
    "fg_mean",
    "fg_sd",
    "bg_mean",
    "bg_sd",
    "efc",
    "gsr",
    "tsnr",
    "fd_mean",
    "dvars_mean",
    "template_dice",
    "template_coverage",
)
"""Per run; None where unknown. The last two are of the registration to MNI152, if any."""

VOLUME_QUALITY_NAMES: Final = ("fd", "dvars", "fg_mean", "bg_mean")
"""Per volume; NaN where unknown."""

AIR_MARGIN_VOXELS: Final = 2
"""Voxels around the foreground that are neither foreground nor air, against partial volumes."""

OTSU_BINS: Final = 256

MAX_TABLE_BYTES: Final = 64 * 1024**2
"""A confounds table is never larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuality:
    """Numbers by name: ``RUN_QUALITY_NAMES`` of the run, ``VOLUME_QUALITY_NAMES`` of its volumes.

    Intensities are in scanner units. ``efc`` is the entropy focus criterion of the mean volume
    (Atkinson et al. 1997, eq. 4), 1 where all voxels are equal; ``gsr`` the ghost-to-signal ratio
    along the second axis (Giannelli et al. 2010); ``tsnr`` the median over the foreground of mean
    over SD in time; ``fd`` the framewise displacement in millimetres; ``dvars`` the root mean
    square over the foreground of the change from the volume before (Power et al. 2012), in per
    cent of the run's foreground mean. Arrays are (V,), float64.
    """

    run: dict[str, float | None]
    volume: dict[str, NDArray[np.float64]]


def measure_quality(
    data_XYZV: NDArray[Any],
    voxel_mm: tuple[float, float, float],
    confounds: NDArray[np.float64] | None = None,
) -> RunQuality:
    """Measure one run.

    Foreground is what lies above Otsu's threshold of the mean volume (Otsu 1979), so that runs of
    one slice and of a few voxels have one too; the background, air, is what lies more than
    ``AIR_MARGIN_VOXELS`` away from it. Both hold for the whole run.

    Parameters
    ----------
    data_XYZV : raw voxels, Fortran order is fastest
        Values that are not finite count as 0.
    voxel_mm : millimetres
    confounds : (V,) millimetres, or None
        Framewise displacement per volume; NaN for the first volume.

    Returns
    -------
    quality : unknown numbers are None in ``run`` and NaN in ``volume``
    """
    data = _finite(data_XYZV)
    mean_XYZ = data.mean(axis=3, dtype=np.float64)
    foreground = mean_XYZ > otsu_threshold(mean_XYZ)
    air = ~_grown(foreground, AIR_MARGIN_VOXELS)
    moments = _scan(data, foreground, air)
    num_volumes = data.shape[3]
    fd = np.full(num_volumes, np.nan) if confounds is None else np.asarray(confounds, float)
    volume = {"fd": fd, **{name: moments[name] for name in ("dvars", "fg_mean", "bg_mean")}}
    run: dict[str, float] = {
        "num_slices": data.shape[2],
        "num_volumes": num_volumes,
        **dict(zip(("voxel_x_mm", "voxel_y_mm", "voxel_z_mm"), voxel_mm, strict=True)),
        "fg_mean": _mean(mean_XYZ[foreground]),
        "fg_sd": _sd(mean_XYZ[foreground]),
        "bg_mean": _mean(mean_XYZ[air]),
        "bg_sd": _sd(mean_XYZ[air]),
        "efc": _entropy_focus(mean_XYZ),
        "gsr": _ghost_ratio(mean_XYZ, foreground),
        "tsnr": _median_tsnr(moments["voxel_mean"], moments["voxel_sd"]),
        "fd_mean": _mean(fd[np.isfinite(fd)]),
        "dvars_mean": _mean(volume["dvars"][1:]),
        "template_dice": math.nan,
        "template_coverage": math.nan,
    }
    return RunQuality(
        run={name: float(v) if math.isfinite(v) else None for name, v in run.items()},
        volume=volume,
    )


def with_displacement(quality: RunQuality, fd_V: NDArray[np.float64] | None) -> RunQuality:
    """Return quality numbers with another framewise displacement, millimetres, NaN first."""
    if fd_V is None:
        return quality
    known = fd_V[np.isfinite(fd_V)]
    mean = float(known.mean()) if known.size else None
    return RunQuality(
        run={**quality.run, "fd_mean": mean}, volume={**quality.volume, "fd": np.asarray(fd_V)}
    )


def otsu_threshold(values: NDArray[np.float64]) -> float:
    """Return the threshold that parts values into the two classes farthest apart (Otsu 1979).

    Parameters
    ----------
    values : any shape, finite

    Returns
    -------
    threshold : in the units of the values
        The middle of the gap where several part the classes alike; the largest value where all
        are equal, so that nothing lies above it.
    """
    counts, edges = np.histogram(values, bins=OTSU_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    total_below = np.cumsum(counts * centres)[:-1]
    total_above = (counts * centres).sum() - total_below
    usable = (below > 0) & (above > 0)
    if not usable.any():
        return float(values.max())
    gap = total_below / np.maximum(below, 1) - total_above / np.maximum(above, 1)
    between = np.where(usable, below * above * gap**2, -1.0)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(edges[1:-1][best].mean())


def read_displacement(path: Path, num_volumes: int) -> NDArray[np.float64] | None:
    """Read framewise displacement from a confounds table of fMRIPrep.

    Parameters
    ----------
    path : tab-separated, with a header line
    num_volumes : rows expected

    Returns
    -------
    fd : (V,) millimetres, NaN for ``n/a``; None where the table has no such column

    Raises
    ------
    SidecarError
        ``bad-confounds`` where the table is unreadable or has another number of rows.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        if len(rows) != num_volumes:
            raise ValueError(f"it has {len(rows)} rows")
        if "framewise_displacement" not in rows[0]:
            return None
        return np.array([_number(row["framewise_displacement"]) for row in rows])
    except (OSError, ValueError, csv.Error) as err:
        raise SidecarError(
            f"{path} is no confounds table of this run: {err}. "
            f"Expected {num_volumes} tab-separated rows under a header line.",
            code="bad-confounds",
            path=str(path),
        ) from err


def _number(text: str | None) -> float:
    return math.nan if text is None or text.strip().lower() in {"n/a", "", "nan"} else float(text)


def _finite(data: NDArray[Any]) -> NDArray[Any]:
    if data.dtype.kind != "f" or np.isfinite(data).all():
        return data
    return np.asarray(np.nan_to_num(data, nan=0.0, posinf=0.0, neginf=0.0))


def _grown(mask: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, iterations=voxels))


def _scan(
    data: NDArray[Any], foreground: NDArray[np.bool_], air: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Go through the volumes once: foreground moments, DVARS, foreground and air means."""
    inside = np.flatnonzero(foreground.ravel(order="F"))
    outside = np.flatnonzero(air.ravel(order="F"))
    num_volumes = data.shape[3]
    found = {name: np.full(num_volumes, np.nan) for name in ("dvars", "fg_mean", "bg_mean")}
    first = data[..., 0].ravel(order="F")[inside].astype(np.float64)
    total, squares = np.zeros(inside.size), np.zeros(inside.size)
    before = first
    for index in range(num_volumes):
        voxels = data[..., index].ravel(order="F")
        now = voxels[inside].astype(np.float64)
        total += now - first
        squares += (now - first) ** 2
        found["fg_mean"][index] = _mean(now)
        found["bg_mean"][index] = _mean(voxels[outside])
        if index and inside.size:
            found["dvars"][index] = math.sqrt(np.square(now - before).mean())
        before = now
    level = _mean(found["fg_mean"])
    found["dvars"] *= 100.0 / level if level > 0 else math.nan
    variance = squares / num_volumes - (total / num_volumes) ** 2
    found["voxel_mean"] = first + total / num_volumes
    found["voxel_sd"] = np.sqrt(np.maximum(variance, 0.0))
    return found


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan


def _sd(values: NDArray[Any]) -> float:
    return float(values.std(dtype=np.float64)) if values.size else math.nan


def _median_tsnr(mean: NDArray[np.float64], sd: NDArray[np.float64]) -> float:
    live = sd > 0
    return float(np.median(mean[live] / sd[live])) if live.any() else math.nan


def _entropy_focus(mean_XYZ: NDArray[np.float64]) -> float:
    """Return Atkinson's criterion over its value for a flat image, as MRIQC does."""
    values = np.maximum(mean_XYZ, 0.0).ravel()
    energy = math.sqrt(float(np.square(values).sum()))
    if energy == 0.0 or values.size < 2:
        return math.nan
    shares = values[values > 0] / energy
    flat = math.sqrt(values.size) * math.log(1.0 / math.sqrt(values.size))
    return float((shares * np.log(shares)).sum() / flat)


def _ghost_ratio(mean_XYZ: NDArray[np.float64], foreground: NDArray[np.bool_]) -> float:
    """Return (ghost - other background) / foreground, the ghost half a field of view away.

    The phase-encoding direction is taken to be the second axis, as MRIQC does without metadata.
    """
    shifted = np.roll(foreground, foreground.shape[1] // 2, axis=1)
    ghost, rest = shifted & ~foreground, ~shifted & ~foreground
    if not (ghost.any() and rest.any() and foreground.any()):
        return math.nan
    signal = float(np.median(mean_XYZ[foreground]))
    return (_mean(mean_XYZ[ghost]) - _mean(mean_XYZ[rest])) / signal if signal else math.nan
