"""From the grid of a scan to the grid of a recipe: one sparse matrix, the same for every volume.

Voxels outside the mask never contribute to a voxel inside: numbers and weights go the same way,
and are divided at the end. Linear interpolation is a sum of 8 neighbours, so that one sparse
product serves any turn of the axes; only voxels inside the mask are computed. Not here: which
grids there are (``grids``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.grids import Box, Grid, box_around, cropped
from spectrum.data.smoothing import (
    BLOCK_VOLUMES,
    blocks_of,
    blur,
    blur_matrices,
    blur_radius,
)

__all__ = ["to_grid"]

LEAST_COVER: Final = 0.5 - 1e-6
"""A voxel counts as inside where weights cover one half of it; the rest is rounding."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Interpolation:
    """``matrix`` (N, S) takes the voxels ``at_S`` of a flat volume to those of the target."""

    at_S: NDArray[np.intp]
    matrix: Any

    def __call__(self, volumes_VP: NDArray[Any]) -> Float32:
        """Return (V, N)."""
        columns = volumes_VP.take(self.at_S, axis=1).T.astype(np.float32, order="C")
        return np.asarray((self.matrix @ columns).T, dtype=np.float32)


def to_grid(
    data_XYZV: NDArray[Any], weights_XYZ: NDArray[np.bool_], source: Grid, target: Grid
) -> tuple[Float32, NDArray[np.bool_]]:
    """Resample a run, linearly, without a voxel of weight 0 having any say.

    Before a step to larger voxels, the run is smoothed along each axis with the Gaussian that
    makes a point of the source as wide as a voxel of the target: FWHM = sqrt(target^2 - source^2)
    (Cardoso et al. 2015, "Scale factor point spread function matching"), so that nothing aliases.

    Parameters
    ----------
    data_XYZV : finite wherever the weight is 1
        Fortran order is fastest.
    weights_XYZ : voxels that count
    source, target : the grids

    Returns
    -------
    signals_VN : float32, volumes by voxels inside, X fastest
    inside_XYZ : voxels of the target that are covered by weight to one half or more
    """
    data_VZYX, weights_ZYX = data_XYZV.T, np.ascontiguousarray(weights_XYZ.T)
    if target.shape == source.shape and np.allclose(target.affine, source.affine):
        return _gathered(data_VZYX, weights_ZYX), weights_XYZ
    if not weights_XYZ.any():
        return np.zeros((len(data_VZYX), 0), np.float32), np.zeros(target.shape, dtype=bool)
    if not _fwhm_mm(source, target).any():
        return _interpolated(data_VZYX, weights_ZYX, source, target)
    return _blurred(data_VZYX, weights_XYZ, source, target)


def _gathered(data_VZYX: NDArray[Any], weights_ZYX: NDArray[np.bool_]) -> Float32:
    at_N = np.flatnonzero(weights_ZYX)
    out = np.empty((len(data_VZYX), at_N.size), dtype=np.float32)
    for signals_N, volume_ZYX in zip(out, data_VZYX, strict=True):
        signals_N[:] = volume_ZYX.reshape(-1)[at_N]
    return out


def _interpolated(
    data_VZYX: NDArray[Any], weights_ZYX: NDArray[np.bool_], source: Grid, target: Grid
) -> tuple[Float32, NDArray[np.bool_]]:
    """Resample where no voxel grows: voxels of weight 0 fall out of the matrix."""
    weights_P = weights_ZYX.reshape(-1)
    resample, inside_XYZ = _build(source, target, weights_P.astype(np.float64), weights_P)
    out = np.empty((len(data_VZYX), resample.matrix.shape[0]), dtype=np.float32)
    for block in blocks_of(len(out)):
        volumes_VZYX = data_VZYX[block]
        out[block] = resample(volumes_VZYX.reshape(len(volumes_VZYX), -1))
    return out, inside_XYZ


def _blurred(
    data_VZYX: NDArray[Any], weights_XYZ: NDArray[np.bool_], source: Grid, target: Grid
) -> tuple[Float32, NDArray[np.bool_]]:
    """Resample after smoothing against aliasing, near the mask alone."""
    tight = box_around(weights_XYZ)
    weights_ZYX = np.ascontiguousarray(weights_XYZ[tight].T)
    find_map = _map_of_axes if _is_aligned(source, target) else _map_of_neighbours
    to_target, inside_XYZ = find_map(weights_ZYX, tight, source, target)
    out = np.empty((len(data_VZYX), np.count_nonzero(inside_XYZ)), dtype=np.float32)
    part = np.empty((BLOCK_VOLUMES, *weights_ZYX.shape), dtype=np.float32)
    for block in blocks_of(len(out)):
        volumes_VZYX = part[: block.stop - block.start]
        np.multiply(data_VZYX[(block, *reversed(tight))], weights_ZYX, out=volumes_VZYX)
        if data_VZYX.dtype.kind == "f":
            volumes_VZYX[:, ~weights_ZYX] = 0.0
        out[block] = to_target(volumes_VZYX)
    return out, inside_XYZ


def _fwhm_mm(source: Grid, target: Grid) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.maximum(target.voxel_mm**2 - source.voxel_mm**2, 0.0)))


def _is_aligned(source: Grid, target: Grid) -> bool:
    """Return whether the axes of both grids are parallel, to a thousandth of a voxel."""
    turn = np.linalg.inv(source.affine)[:3, :3] @ target.affine[:3, :3]
    beside = np.abs(turn - np.diag(np.diag(turn))) @ np.array(target.shape)
    return bool(beside.max() < 1e-3)


def _map_of_axes(
    weights_ZYX: NDArray[np.bool_], tight: Box, source: Grid, target: Grid
) -> tuple[Callable[[Float32], Float32], NDArray[np.bool_]]:
    """Return smoothing and interpolation as one matrix an axis, for parallel axes."""
    x, y, z = source.shape
    whole = (slice(0, x), slice(0, y), slice(0, z))
    blurs = blur_matrices(source, _fwhm_mm(source, target), into=whole, out_of=tight)
    to_source = np.linalg.inv(source.affine) @ target.affine
    matrices = [
        _interpolate_axis(to_source[axis], axis, source, target) @ blurs[2 - axis]
        for axis in (2, 1, 0)
    ]
    cover_ZYX = blur(weights_ZYX[None].astype(np.float32), matrices)[0]
    inside_ZYX = cover_ZYX >= LEAST_COVER
    box = tuple(reversed(box_around(inside_ZYX.T)))
    at_N = np.flatnonzero(inside_ZYX[box])
    share_N = 1.0 / np.maximum(cover_ZYX[box].reshape(-1)[at_N], LEAST_COVER)
    rows = [np.ascontiguousarray(m[side]) for m, side in zip(matrices, box, strict=True)]

    def to_target(volumes_VZYX: Float32) -> Float32:
        smooth = blur(volumes_VZYX, rows)
        return np.asarray(smooth.reshape(len(smooth), -1).take(at_N, axis=1) * share_N)

    return to_target, inside_ZYX.T


def _interpolate_axis(row: NDArray[np.float64], axis: int, source: Grid, target: Grid) -> Float32:
    """Return the linear interpolation along one axis, (target, source); beyond it lies 0."""
    middle = (np.array(target.shape) - 1) / 2.0
    middle[axis] = 0.0
    place = row[3] + row[:3] @ middle + row[axis] * np.arange(target.shape[axis])
    distance = np.abs(place[:, None] - np.arange(source.shape[axis]))
    return np.asarray(np.maximum(0.0, 1.0 - distance), dtype=np.float32)


def _map_of_neighbours(
    weights_ZYX: NDArray[np.bool_], tight: Box, source: Grid, target: Grid
) -> tuple[Callable[[Float32], Float32], NDArray[np.bool_]]:
    """Return smoothing along the source's axes and then interpolation, for any turn."""
    fwhm_mm = _fwhm_mm(source, target)
    weights_XYZ = np.zeros(source.shape, dtype=bool)
    weights_XYZ[tight] = weights_ZYX.T
    near = box_around(weights_XYZ, blur_radius(fwhm_mm, source))
    matrices = blur_matrices(source, fwhm_mm, into=near, out_of=tight)
    cover_ZYX = blur(weights_ZYX[None].astype(np.float32), matrices)
    everywhere = np.ones(cover_ZYX.size, dtype=bool)
    resample, inside_XYZ = _build(
        cropped(source, near), target, cover_ZYX.reshape(-1).astype(np.float64), everywhere
    )

    def to_target(volumes_VZYX: Float32) -> Float32:
        return resample(blur(volumes_VZYX, matrices).reshape(len(volumes_VZYX), -1))

    return to_target, inside_XYZ


def _build(
    source: Grid, target: Grid, cover_P: NDArray[np.float64], usable_P: NDArray[np.bool_]
) -> tuple[_Interpolation, NDArray[np.bool_]]:
    """Return the interpolation to the voxels that are covered, each divided by its cover."""
    from scipy.sparse import csr_array

    at, columns, weights = _neighbours(source, target)
    cover = (weights * cover_P[columns]).sum(axis=1)
    is_inside = cover >= LEAST_COVER
    inside_ZYX = np.zeros(target.shape[::-1], dtype=bool)
    inside_ZYX.reshape(-1)[at[is_inside]] = True
    columns = columns[is_inside]
    weights = np.where(usable_P[columns], weights[is_inside] / cover[is_inside, None], 0.0)
    is_used = weights > 0
    row_starts = np.concatenate([[0], is_used.sum(axis=1).cumsum()])
    at_S, compact = np.unique(columns[is_used], return_inverse=True)
    matrix = csr_array(
        (weights[is_used].astype(np.float32), compact, row_starts),
        shape=(len(columns), at_S.size),
    )
    return _Interpolation(at_S=at_S, matrix=matrix), inside_ZYX.T


def _neighbours(
    source: Grid, target: Grid
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return the target's voxels near the source, and for each 8 voxels of the source.

    Outside of the source lies a rim of weight 0, so that numbers and weights fade alike.

    Returns
    -------
    at : (M,) indices of flat target volumes, X fastest
    columns, weights : (M, 8) indices of flat source volumes, and weights
    """
    to_source = np.linalg.inv(source.affine) @ target.affine
    indices = np.ogrid[tuple(slice(side) for side in target.shape[::-1])][::-1]
    places = [
        sum((row[axis] * indices[axis] for axis in range(3)), start=row[3] + np.zeros((1, 1, 1)))
        for row in to_source[:3]
    ]
    is_near = np.logical_and.reduce(
        [(p > -1) & (p < side) for p, side in zip(places, source.shape, strict=True)]
    )
    at = np.flatnonzero(is_near)
    columns, weights = np.zeros((at.size, 8), np.intp), np.ones((at.size, 8))
    strides = (1, source.shape[0], source.shape[0] * source.shape[1])
    for place, side, stride, axis in zip(places, source.shape, strides, range(3), strict=True):
        low = np.floor(place[is_near]).astype(np.intp)
        above = place[is_near] - low
        for corner, steps in enumerate(itertools.product((0, 1), repeat=3)):
            index = low + steps[axis]
            share = above if steps[axis] else 1.0 - above
            weights[:, corner] *= np.where((index >= 0) & (index < side), share, 0.0)
            columns[:, corner] += np.clip(index, 0, side - 1) * stride
    return at, columns, weights
