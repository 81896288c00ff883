"""Gaussian smoothing of many volumes at once, one matrix product along each axis.

The matrices are scipy's own filter, applied to the unit vectors, so that the numbers are those of
``nilearn.image.smooth_img``, several times sooner. Not here: how wide a recipe smooths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.grids import Box, Grid, box_around

__all__ = ["BLOCK_VOLUMES", "blocks_of", "blur", "blur_matrices", "blur_radius", "smooth_within"]

BLOCK_VOLUMES: Final = 16
"""Volumes treated at once: memory does not grow with the run, and a block stays in the cache."""

FWHM_OF_SD: Final = math.sqrt(8.0 * math.log(2.0))

TRUNCATE_SD: Final = 4.0
"""Where scipy cuts its Gaussian, in standard deviations; nilearn leaves it at that."""

Float32 = NDArray[np.float32]


def blocks_of(num_volumes: int) -> Iterator[slice]:
    """Yield the volumes in blocks of ``BLOCK_VOLUMES``."""
    for start in range(0, num_volumes, BLOCK_VOLUMES):
        yield slice(start, min(start + BLOCK_VOLUMES, num_volumes))


def blur_radius(fwhm_mm: NDArray[np.float64], grid: Grid) -> tuple[int, int, int]:
    """Return how many voxels away along X, Y and Z a Gaussian is felt."""
    x, y, z = (int(TRUNCATE_SD * sd + 0.5) for sd in fwhm_mm / FWHM_OF_SD / grid.voxel_mm)
    return x, y, z


def blur_matrices(
    grid: Grid, fwhm_mm: NDArray[np.float64], *, into: Box, out_of: Box
) -> tuple[Float32, ...]:
    """Return one matrix per axis, Z first, from voxels of one box to those of another.

    Parameters
    ----------
    grid : of the whole image
        Its borders mirror, as in nilearn.
    fwhm_mm : (3,) millimetres, X first
    into, out_of : boxes of the result and of the input
        The image must be 0 outside the second.
    """
    from scipy.ndimage import gaussian_filter1d

    sd_voxels = fwhm_mm / FWHM_OF_SD / grid.voxel_mm
    matrices = []
    for side, sd, rows, columns in zip(grid.shape, sd_voxels, into, out_of, strict=True):
        unit = np.eye(side)
        whole = gaussian_filter1d(unit, sd, axis=0, truncate=TRUNCATE_SD) if sd > 0 else unit
        matrices.append(np.ascontiguousarray(whole[rows, columns], dtype=np.float32))
    return tuple(reversed(matrices))


def blur(volumes_VZYX: Float32, matrices: Sequence[Float32]) -> Float32:
    """Apply the matrices of ``blur_matrices``."""
    along_z, along_y, along_x = matrices
    num_volumes, num_z = volumes_VZYX.shape[:2]
    wide = np.matmul(along_y, volumes_VZYX @ along_x.T)
    flat = np.matmul(along_z, wide.reshape(num_volumes, num_z, -1))
    shape = (num_volumes, len(along_z), len(along_y), len(along_x))
    return np.asarray(flat.reshape(shape), dtype=np.float32)


def smooth_within(
    signals_VN: Float32, inside_XYZ: NDArray[np.bool_], grid: Grid, fwhm_mm: float
) -> Float32:
    """Smooth inside a mask; voxels outside give nothing and get nothing.

    The smoothed run is divided by the smoothed mask, so that the rim of the brain keeps its level.

    Parameters
    ----------
    signals_VN : volumes by voxels of the mask, X fastest
    inside_XYZ : the mask
    grid : of the mask
    fwhm_mm : millimetres; 0 gives the signals back
    """
    if math.isclose(fwhm_mm, 0.0):
        return signals_VN
    box = box_around(inside_XYZ)
    inside_ZYX = np.ascontiguousarray(inside_XYZ[box].T)
    at_N = np.flatnonzero(inside_ZYX)
    matrices = blur_matrices(grid, np.full(3, fwhm_mm), into=box, out_of=box)
    cover = blur(inside_ZYX[None].astype(np.float32), matrices)
    share_N = 1.0 / cover.reshape(-1)[at_N]
    out = np.empty_like(signals_VN)
    volumes = np.zeros((BLOCK_VOLUMES, *inside_ZYX.shape), dtype=np.float32)
    for block in blocks_of(len(signals_VN)):
        part = volumes[: block.stop - block.start]
        for flat, signals_N in zip(part.reshape(len(part), -1), signals_VN[block], strict=True):
            flat[at_N] = signals_N
        smooth = blur(part, matrices).reshape(len(part), -1)
        np.multiply(smooth.take(at_N, axis=1), share_N, out=out[block])
    return out
