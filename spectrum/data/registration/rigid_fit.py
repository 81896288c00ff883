"""Least squares between a reference and a volume: where the head lies in the volume.

Gauss-Newton on the inverse-compositional form (Baker and Matthews 2004, Int. J. Computer Vision
56:221): the derivatives are those of the reference and are taken once. Gain and offset of the
volume are fitted with the place, so drift of intensity is not taken for motion. The same cost as
SPM's realignment (Friston et al. 1995, Human Brain Mapping 3:165). Not here: which reference, and
in which order volumes are fitted (``motion``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.registration.places import HEAD_RADIUS_MM, Matrix, place_matrix, through

__all__ = ["Fit", "Level", "Target", "build_target", "fit_place", "smoothed"]

FWHM_OF_SD: Final = math.sqrt(8.0 * math.log(2.0))

MAX_STEPS: Final = 40
TOLERANCE_MM: Final = 1e-3
"""A fit ends when a step moves no point at ``HEAD_RADIUS_MM`` by more than this, about."""

BORDER_VOXELS: Final = 1.0
"""Points so near to the edge of a volume count half, nearer ones less, down to nothing within one
voxel: smoothing has nothing beyond the edge to see. They fade, since a fit whose points come and
go at once never settles."""

LEAST_POINTS: Final = 64

LARGEST_STEP: Final = np.array([10.0, 10.0, 10.0, 0.2, 0.2, 0.2])
"""Millimetres and radians; the derivatives say nothing of what lies further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How smooth, on every which voxel, and with which spline the two are compared."""

    fwhm_mm: float
    stride: int
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is fitted to: points (3, N) of the reference and the fit's columns (N, 8) there.

    The columns are the change per millimetre along X, Y, Z, per radian about X, Y, Z, the
    reference itself, and 1.
    """

    points_mm: NDArray[np.float64]
    columns_N8: NDArray[np.float64]
    center_mm: NDArray[np.float64]
    affine: Matrix
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """``similarity`` is the correlation of volume and reference there, -1 to 1."""

    place: Matrix
    similarity: float
    is_converged: bool


def smoothed(volume_XYZ: NDArray[Any], affine: Matrix, fwhm_mm: float) -> NDArray[np.float64]:
    """Return a volume smoothed with a Gaussian; edges are repeated."""
    from scipy.ndimage import gaussian_filter

    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    sd_voxels = fwhm_mm / FWHM_OF_SD / voxel_mm
    volume = np.asarray(volume_XYZ, dtype=np.float64)
    return np.asarray(gaussian_filter(volume, sd_voxels, mode="nearest"))


def build_target(
    reference_XYZ: NDArray[Any],
    affine: Matrix,
    inside_XYZ: NDArray[np.bool_],
    center_mm: NDArray[np.float64],
    level: Level,
) -> Target:
    """Take the reference's values and derivatives at the voxels that count.

    Parameters
    ----------
    reference_XYZ : not smoothed
    affine : voxel indices to millimetres
    inside_XYZ : voxels that may count
    center_mm : (3,), what rotations turn about
    level : how to compare
    """
    smooth_XYZ = smoothed(reference_XYZ, affine, level.fwhm_mm)
    by_index = np.stack([part.ravel() for part in np.gradient(smooth_XYZ)])
    slopes_3N = np.linalg.inv(affine[:3, :3]).T @ by_index
    used = np.flatnonzero(_thinned(inside_XYZ, level.stride).ravel())
    index = np.stack(np.unravel_index(used, inside_XYZ.shape)).astype(np.float64)
    points_mm, slopes_3N = through(affine, index), slopes_3N[:, used]
    arms_3N = points_mm - center_mm[:, None]
    turned_3N = np.cross(arms_3N, slopes_3N, axis=0)
    values = smooth_XYZ.ravel()[used]
    columns = np.vstack([slopes_3N, turned_3N, values, np.ones(used.size)])
    return Target(
        points_mm=points_mm,
        columns_N8=np.ascontiguousarray(columns.T),
        center_mm=center_mm,
        affine=affine,
        level=level,
    )


def _thinned(inside_XYZ: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Keep every which voxel along the two axes that have most, and every slice."""
    thin = np.zeros_like(inside_XYZ)
    fine = np.argsort(inside_XYZ.shape)[1:]
    steps = tuple(slice(None, None, stride if axis in fine else 1) for axis in range(3))
    thin[steps] = inside_XYZ[steps]
    return thin if np.count_nonzero(thin) >= LEAST_POINTS else inside_XYZ


def fit_place(volume_XYZ: NDArray[Any], target: Target, start: Matrix) -> Fit:
    """Find where the reference's points lie in a volume.

    Parameters
    ----------
    volume_XYZ : on the reference's grid, not smoothed
    target : of the reference
    start : (4, 4), the first guess
    """
    from scipy.ndimage import spline_filter

    level = target.level
    smooth_XYZ = smoothed(volume_XYZ, target.affine, level.fwhm_mm)
    spline = spline_filter(smooth_XYZ, order=level.order) if level.order > 1 else smooth_XYZ
    to_index = np.linalg.inv(target.affine)
    place, similarity, is_converged = start, -1.0, False
    for _ in range(MAX_STEPS):
        values, weights = _read(spline, through(to_index @ place, target.points_mm), level.order)
        if weights.sum() < LEAST_POINTS:
            break
        step, similarity = _step(values, weights, target)
        place = place @ np.linalg.inv(place_matrix(step, target.center_mm))
        if np.abs(step[:3]).max() + HEAD_RADIUS_MM * np.abs(step[3:]).max() < TOLERANCE_MM:
            is_converged = True
            break
    return Fit(place=place, similarity=similarity, is_converged=is_converged)


def _read(
    spline: NDArray[np.float64], index_3N: NDArray[np.float64], order: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a volume at fractional indices, and say how much each counts, 0 to 1."""
    from scipy.ndimage import map_coordinates

    high = np.array(spline.shape)[:, None] - 1.0
    depth = np.minimum(index_3N, high - index_3N).min(axis=0)
    weights = np.clip(depth - BORDER_VOXELS + 0.5, 0.0, 1.0)
    values = map_coordinates(spline, index_3N, order=order, prefilter=False, mode="mirror")
    return values, weights


def _step(
    values: NDArray[np.float64], weights: NDArray[np.float64], target: Target
) -> tuple[NDArray[np.float64], float]:
    """Return the six parameters of one Gauss-Newton step, and the similarity before it."""
    columns = target.columns_N8
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-30)
    weighted = columns * weights[:, None] / scale
    normal, seen = weighted.T @ columns / scale, weighted.T @ values
    found, *_ = np.linalg.lstsq(normal, seen, rcond=1e-12)
    found = found / scale
    gain = found[6] if abs(found[6]) > 1e-12 else 1.0
    step = np.clip(found[:6] / gain, -LARGEST_STEP, LARGEST_STEP)
    return step, _correlation(values, columns[:, 6], weights)


def _correlation(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    first, second = (part - np.average(part, weights=weights) for part in (first, second))
    length = math.sqrt(float(weights @ first**2) * float(weights @ second**2))
    return float((weights * first) @ second) / length if length > 0 else 0.0
