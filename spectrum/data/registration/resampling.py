"""One interpolation from the volumes as scanned to any grid, whatever lies between.

Motion, normalisation and grid are matrices; their product is applied once, so that no voxel is
blurred twice. Not here: where the matrices come from (``motion``, ``normalisation``).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.grids import Grid
from spectrum.data.registration.places import Matrix, through
from spectrum.data.registration.threads import in_threads

__all__ = ["resample_run", "resample_volume"]

SPLINE_ORDER: Final = 3
"""Cubic B-spline through the voxels. A linear one blurs most halfway between voxels, so that
motion would change sharpness."""

FWHM_OF_SD: Final = math.sqrt(8.0 * math.log(2.0))

LEAST_FWHM_VOXELS: Final = 0.25
"""A Gaussian narrower than this leaves a voxel's neighbours less than 1e-10 each."""

EDGE_VOXELS: Final = 0.5
"""A volume reaches half a voxel beyond the centres of its outermost voxels."""


def resample_run(
    data_XYZV: NDArray[Any],
    source: Grid,
    target: Grid,
    *,
    places_V44: Matrix,
    wanted_XYZ: NDArray[np.bool_] | None = None,
    num_threads: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put a run on another grid, every volume by its own matrix, with one interpolation.

    Before a step to larger voxels, volumes are smoothed along their own axes with the Gaussian
    that makes a point of the source as wide as a voxel of the target (Cardoso et al. 2015, "Scale
    factor point spread function matching"), the same for all volumes. Values stay within the range
    of their volume: a spline overshoots at edges, and air is never below zero.

    Parameters
    ----------
    data_XYZV : as scanned
        A voxel that is not finite in any volume counts as 0 in all.
    source, target : the grids
    places_V44 : (V, 4, 4), or (4, 4) for all volumes
        Millimetres of the target's space to those of each volume:
        ``motion.places_V44 @ normalisation.to_run``, or either alone.
    wanted_XYZ : voxels of the target that are needed, such as a brain; None for all
        The others are 0, and cost no time.
    num_threads : >= 1; changes no number

    Returns
    -------
    data_XYZV : float32, Fortran order, 0 where a volume does not reach
    inside_XYZ : voxels that are wanted and that every volume reaches
    """
    num_volumes = data_XYZV.shape[3]
    places_V44 = np.broadcast_to(places_V44, (num_volumes, 4, 4))
    finite_XYZ = np.isfinite(data_XYZV.sum(axis=3, dtype=np.float64))
    fwhm = _widening(places_V44[0], source, target)
    wanted_XYZ = np.ones(target.shape, dtype=bool) if wanted_XYZ is None else wanted_XYZ
    points_mm = through(target.affine, np.argwhere(wanted_XYZ).T)
    out = np.zeros((*target.shape, num_volumes), dtype=np.float32, order="F")

    def resample_one(index: int) -> NDArray[np.bool_]:
        volume_XYZ = np.where(finite_XYZ, data_XYZV[..., index], 0).astype(np.float32)
        where = through(np.linalg.inv(source.affine) @ places_V44[index], points_mm)
        values, seen = _read(_widened(volume_XYZ, fwhm), where)
        out[wanted_XYZ, index] = values
        return seen

    seen = in_threads(resample_one, range(num_volumes), num_threads)
    inside_XYZ = np.zeros(target.shape, dtype=bool)
    inside_XYZ[wanted_XYZ] = np.logical_and.reduce(seen)
    return out, inside_XYZ


def resample_volume(
    volume_XYZ: NDArray[Any], affine: Matrix, place: Matrix
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put one volume on its own grid by a matrix, and say which voxels it reaches; cubic."""
    shape = volume_XYZ.shape
    points_mm = through(affine, np.indices(shape).reshape(3, -1))
    where = through(np.linalg.inv(affine) @ place, points_mm)
    values, seen = _read(volume_XYZ, where)
    return values.reshape(shape), seen.reshape(shape)


def _widening(place: Matrix, source: Grid, target: Grid) -> NDArray[np.float64]:
    """Return the Gaussian's FWHM in voxels along the source's axes."""
    steps = (np.linalg.inv(source.affine) @ place @ target.affine)[:3, :3]
    width = np.sqrt(np.square(steps).sum(axis=1))
    fwhm = np.sqrt(np.maximum(width**2 - 1.0, 0.0))
    return np.where(fwhm < LEAST_FWHM_VOXELS, 0.0, fwhm)


def _widened(volume_XYZ: NDArray[np.float32], fwhm: NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    if not fwhm.any():
        return volume_XYZ
    return np.asarray(gaussian_filter(volume_XYZ, fwhm / FWHM_OF_SD, mode="nearest"))


def _read(
    volume_XYZ: NDArray[Any], where_3N: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read a volume at fractional indices, and say which it reaches."""
    from scipy.ndimage import map_coordinates

    high = np.array(volume_XYZ.shape)[:, None] - 1.0 + EDGE_VOXELS
    slack = 1e-6
    seen = ((where_3N >= -EDGE_VOXELS - slack) & (where_3N <= high + slack)).all(axis=0)
    values = np.zeros(where_3N.shape[1], dtype=np.float32)
    read = map_coordinates(
        volume_XYZ, where_3N[:, seen], order=SPLINE_ORDER, mode="mirror", output=np.float32
    )
    values[seen] = np.clip(read, volume_XYZ.min(), volume_XYZ.max())
    return values, np.asarray(seen)
