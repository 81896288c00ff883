"""From the grid of a scan to the grid of a recipe: one sparse matrix, the same for every volume.

Voxels outside the mask never contribute to a voxel inside: numbers and weights go the same way,
and are divided at the end. Linear interpolation is a sum of 8 neighbours, so that one sparse
product serves any turn of the axes; only voxels inside the mask are computed. Not here: which
grids there are (``grids``).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.grids import Grid, box_around, cropped
from spectrum.data.smoothing import blocks_of, blur, blur_matrices, blur_radius

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
    fwhm_mm = np.sqrt(np.maximum(target.voxel_mm**2 - source.voxel_mm**2, 0.0))
    if not weights_XYZ.any():
        return np.zeros((len(data_VZYX), 0), np.float32), np.zeros(target.shape, dtype=bool)
    if not fwhm_mm.any():
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
    fwhm_mm = np.sqrt(np.maximum(target.voxel_mm**2 - source.voxel_mm**2, 0.0))
    tight = box_around(weights_XYZ)
    near = box_around(weights_XYZ, blur_radius(fwhm_mm, source))
    matrices = blur_matrices(source, fwhm_mm, into=near, out_of=tight)
    weights_ZYX = np.ascontiguousarray(weights_XYZ[tight].T)
    cover_ZYX = blur(weights_ZYX[None].astype(np.float32), matrices)
    everywhere = np.ones(cover_ZYX.size, dtype=bool)
    resample, inside_XYZ = _build(
        cropped(source, near), target, cover_ZYX.reshape(-1).astype(np.float64), everywhere
    )
    out = np.empty((len(data_VZYX), resample.matrix.shape[0]), dtype=np.float32)
    for block in blocks_of(len(out)):
        part = np.where(weights_ZYX, data_VZYX[(block, *reversed(tight))], 0).astype(np.float32)
        out[block] = resample(blur(part, matrices).reshape(len(part), -1))
    return out, inside_XYZ


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
