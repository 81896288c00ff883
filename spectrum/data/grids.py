"""Grids that a run ends on, and the way there: a brain mask, a target affine, one resampling.

Voxels outside the mask never contribute to a voxel inside: numbers and weights go the same way,
and are divided at the end. Not here: what happens over time (``temporal``), and the order of the
steps (``recipe``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.quality import otsu_threshold

__all__ = ["Grid", "build_grid", "find_brain", "smooth_within", "to_grid"]

MNI_EXTENT_MM: Final = ((-90.0, 90.0), (-126.0, 90.0), (-72.0, 108.0))
"""Extent of the MNI152 template (ICBM 2009, as FSL and nilearn ship it) along x, y and z."""

MNI_BRAIN_CENTRE_MM: Final = (0.0, -22.0, 9.5)
"""Centre of mass of ``nilearn.datasets.load_mni152_brain_mask(resolution=1)`` (nilearn 0.14):
(0.00, -22.00, 9.55)."""

BLOCK_VOLUMES: Final = 16
"""Volumes resampled at once, so that memory does not grow with the run."""

OPENING_MM: Final = 6.0
"""nilearn opens a mask by 2 voxels, made for 3 mm; larger voxels are opened by fewer."""

FWHM_OF_SD: Final = math.sqrt(8.0 * math.log(2.0))

Affine = NDArray[np.float64]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Voxels along X, Y and Z, and the (4, 4) affine from their indices to millimetres."""

    shape: tuple[int, int, int]
    affine: Affine

    @property
    def voxel_mm(self) -> NDArray[np.float64]:
        """Edges of a voxel, millimetres."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))


def build_grid(
    source: Grid, brain_XYZ: NDArray[np.bool_], config: PreprocessingConfig, *, is_aligned: bool
) -> Grid:
    """Return the grid that a run ends on.

    Parameters
    ----------
    source : the run's own grid, axes nearest to right, anterior, superior
    brain_XYZ : its brain
    config : which grid
    is_aligned : whether the run is in MNI152 space already
        The common grid is then laid on the template; otherwise it is moved, and only moved, so
        that the brain's centre of mass lies where the template's does.
    """
    if config.grid == "native":
        return source
    if config.grid == "matrix":
        assert config.matrix is not None
        return _divided(source, config.matrix)
    common = _common(config.voxel_mm)
    if is_aligned:
        return common
    shift_mm = _centre_mm(brain_XYZ, source.affine) - np.array(MNI_BRAIN_CENTRE_MM)
    return Grid(shape=common.shape, affine=_moved(common.affine, shift_mm))


def _divided(source: Grid, shape: tuple[int, int, int]) -> Grid:
    """Divide the same field of view, from edge to edge, into other voxels."""
    scale = np.array(source.shape) / np.array(shape)
    to_source = np.diag([*scale, 1.0])
    to_source[:3, 3] = (scale - 1.0) / 2.0
    return Grid(shape=shape, affine=source.affine @ to_source)


def _common(voxel_mm: float) -> Grid:
    low, high = np.array(MNI_EXTENT_MM).T
    counts = np.ceil((high - low) / voxel_mm - 1e-9).astype(int)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = (low + high) / 2.0 - voxel_mm * (counts - 1) / 2.0
    x, y, z = (int(count) for count in counts)
    return Grid(shape=(x, y, z), affine=affine)


def _centre_mm(brain_XYZ: NDArray[np.bool_], affine: Affine) -> NDArray[np.float64]:
    centre = np.argwhere(brain_XYZ).mean(axis=0)
    return np.asarray(affine[:3, :3] @ centre + affine[:3, 3])


def _moved(affine: Affine, shift_mm: NDArray[np.float64]) -> Affine:
    moved = affine.copy()
    moved[:3, 3] += shift_mm
    return moved


def find_brain(mean_XYZ: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """Return the brain of a mean volume.

    nilearn's ``compute_epi_mask``; where that finds nothing (one slice, a few large voxels, an
    image stripped of its skull), what lies above Otsu's threshold of the mean volume.

    Returns
    -------
    brain_XYZ : empty where all voxels are equal
    """
    from nilearn.masking import compute_epi_mask

    opening = min(
        2, int(OPENING_MM // float(grid.voxel_mm.max())), max(0, (min(grid.shape) - 1) // 4)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mask = compute_epi_mask(_image(mean_XYZ, grid), opening=opening)
            brain_XYZ = np.asarray(mask.dataobj) > 0
        except ValueError:
            brain_XYZ = np.zeros(mean_XYZ.shape, dtype=bool)
    if brain_XYZ.any() and not brain_XYZ.all():
        return np.asarray(brain_XYZ)
    return np.asarray(mean_XYZ > otsu_threshold(mean_XYZ.astype(np.float64)))


def to_grid(
    data_XYZV: NDArray[Any], weights_XYZ: NDArray[np.bool_], source: Grid, target: Grid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Resample a run, linearly, without a voxel of weight 0 having any say.

    Before a step to larger voxels, the run is smoothed along each axis with the Gaussian that
    makes a point of the source as wide as a voxel of the target: FWHM = sqrt(target^2 - source^2)
    (Cardoso et al. 2015, "Scale factor point spread function matching"), so that nothing aliases.

    Parameters
    ----------
    data_XYZV : finite wherever the weight is 1
    weights_XYZ : voxels that count
    source, target : the grids

    Returns
    -------
    data_XYZV : float32, Fortran order, on the target grid, 0 outside
    inside_XYZ : voxels that are covered by weight to one half or more
    """
    out = np.zeros((*target.shape, data_XYZV.shape[3]), dtype=np.float32, order="F")
    if target.shape == source.shape and np.allclose(target.affine, source.affine):
        for volumes in _blocks(out):
            out[..., volumes] = np.where(weights_XYZ[..., None], data_XYZV[..., volumes], 0)
        return out, weights_XYZ
    fwhm_mm = np.sqrt(np.maximum(target.voxel_mm**2 - source.voxel_mm**2, 0.0))
    near = _box(weights_XYZ, _radius(fwhm_mm, source))
    data_XYZV, weights_XYZ, source = data_XYZV[near], weights_XYZ[near], _cropped(source, near)
    weights = weights_XYZ.astype(np.float32)[..., None]
    cover = _resample(weights, source, target, fwhm_mm)
    inside_XYZ = cover[..., 0] >= 0.5
    box = _box(inside_XYZ, (0, 0, 0))
    share = np.where(inside_XYZ[..., None], 1.0 / np.maximum(cover, 0.5), 0.0)[box]
    for volumes in _blocks(out):
        block = np.where(weights > 0, data_XYZV[..., volumes], 0).astype(np.float32)
        resampled = _resample(block, source, _cropped(target, box), fwhm_mm)
        out[(*box, volumes)] = resampled * share
    return out, inside_XYZ


def _blocks(data_XYZV: NDArray[Any]) -> Iterator[slice]:
    for start in range(0, data_XYZV.shape[3], BLOCK_VOLUMES):
        yield slice(start, start + BLOCK_VOLUMES)


def _radius(fwhm_mm: NDArray[np.float64], grid: Grid) -> tuple[int, int, int]:
    """Return how many voxels away a Gaussian is felt; scipy cuts it at 4 SD."""
    sd_voxels = fwhm_mm / FWHM_OF_SD / grid.voxel_mm
    x, y, z = (math.ceil(4.0 * sd + 0.5) + 1 for sd in sd_voxels)
    return x, y, z


def _box(mask_XYZ: NDArray[np.bool_], margin: tuple[int, int, int]) -> Box:
    """Return the box around a mask, some voxels larger; what lies outside has no influence."""
    if not mask_XYZ.any():
        return slice(0, 1), slice(0, 1), slice(0, 1)
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask_XYZ.any(axis=others))
        low = max(0, int(used[0]) - margin[axis])
        sides.append(slice(low, min(mask_XYZ.shape[axis], int(used[-1]) + 1 + margin[axis])))
    return sides[0], sides[1], sides[2]


def _cropped(grid: Grid, box: Box) -> Grid:
    corner = np.array([side.start for side in box], dtype=np.float64)
    x, y, z = (side.stop - side.start for side in box)
    return Grid(shape=(x, y, z), affine=_moved(grid.affine, grid.affine[:3, :3] @ corner))


def _resample(
    data_XYZV: NDArray[np.float32], source: Grid, target: Grid, fwhm_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Smooth against aliasing, add a rim of zeros (numbers and weights fade alike), resample."""
    from nilearn.image import resample_img, smooth_img

    smooth = smooth_img(_image(data_XYZV, source), fwhm=fwhm_mm.tolist())
    padded = np.pad(np.asarray(smooth.dataobj), ((1, 1), (1, 1), (1, 1), (0, 0)))
    rim = _moved(source.affine, -source.affine[:3, :3] @ np.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resampled = resample_img(
            _image(padded, Grid(shape=source.shape, affine=rim)),
            target_affine=target.affine,
            target_shape=target.shape,
            interpolation="linear",
        )
    return np.asarray(resampled.dataobj, dtype=np.float32)


def smooth_within(
    data_XYZV: NDArray[np.float32], inside_XYZ: NDArray[np.bool_], grid: Grid, fwhm_mm: float
) -> NDArray[np.float32]:
    """Smooth with nilearn; voxels outside give nothing and get nothing.

    The smoothed run is divided by the smoothed mask, so that the rim of the brain keeps its level.

    Parameters
    ----------
    data_XYZV : 0 outside
    inside_XYZ : the mask
    grid : of both
    fwhm_mm : millimetres; 0 gives the data back
    """
    from nilearn.image import smooth_img

    if math.isclose(fwhm_mm, 0.0):
        return data_XYZV
    box = _box(inside_XYZ, _radius(np.full(3, fwhm_mm), grid))
    small, inside = _cropped(grid, box), inside_XYZ[box][..., None]
    cover = smooth_img(_image(inside.astype(np.float32), small), fwhm=fwhm_mm)
    share = np.where(inside, 1.0 / np.where(inside, np.asarray(cover.dataobj), 1.0), 0.0)
    out = np.zeros(data_XYZV.shape, dtype=np.float32, order="F")
    for volumes in _blocks(out):
        smooth = smooth_img(_image(data_XYZV[(*box, volumes)], small), fwhm=fwhm_mm)
        out[(*box, volumes)] = np.asarray(smooth.dataobj) * share
    return out


def _image(data: NDArray[Any], grid: Grid) -> Any:
    import nibabel as nib

    return nib.Nifti1Image(data, grid.affine)
