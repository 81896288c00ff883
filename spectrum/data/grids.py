"""Grids that a run ends on, and the way there: a brain mask, a target affine, one resampling.

Voxels outside the mask never contribute to a voxel inside: numbers and weights go the same way,
and are divided at the end. Not here: what happens over time (``temporal``), and the order of the
steps (``recipe``).
"""

from __future__ import annotations

import math
import warnings
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

Affine = NDArray[np.float64]


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
    num_volumes = data_XYZV.shape[3]
    out = np.zeros((*target.shape, num_volumes), dtype=np.float32, order="F")
    is_same = target.shape == source.shape and np.allclose(target.affine, source.affine)
    cover_XYZ = (
        weights_XYZ.astype(np.float32)
        if is_same
        else _resample(weights_XYZ.astype(np.float32)[..., None], source, target)[..., 0]
    )
    inside_XYZ = cover_XYZ >= 0.5
    for start in range(0, num_volumes, BLOCK_VOLUMES):
        block = np.where(
            weights_XYZ[..., None], data_XYZV[..., start : start + BLOCK_VOLUMES], 0
        ).astype(np.float32)
        if not is_same:
            block = _resample(block, source, target)
        block[~inside_XYZ] = 0.0
        block[inside_XYZ] /= cover_XYZ[inside_XYZ][:, None]
        out[..., start : start + BLOCK_VOLUMES] = block
    return out, inside_XYZ


def _resample(data_XYZV: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """Smooth against aliasing, add a rim of zeros (numbers and weights fade alike), resample."""
    from nilearn.image import resample_img, smooth_img

    fwhm_mm = np.sqrt(np.maximum(target.voxel_mm**2 - source.voxel_mm**2, 0.0))
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
    cover = smooth_img(_image(inside_XYZ.astype(np.float32), grid), fwhm=fwhm_mm)
    cover_XYZ = np.where(inside_XYZ, np.asarray(cover.dataobj), 1.0).astype(np.float32)
    out = np.zeros(data_XYZV.shape, dtype=np.float32, order="F")
    for start in range(0, data_XYZV.shape[3], BLOCK_VOLUMES):
        block = data_XYZV[..., start : start + BLOCK_VOLUMES]
        smooth = np.asarray(smooth_img(_image(block, grid), fwhm=fwhm_mm).dataobj)
        out[..., start : start + BLOCK_VOLUMES] = np.where(
            inside_XYZ[..., None], smooth / cover_XYZ[..., None], 0.0
        )
    return out


def _image(data: NDArray[Any], grid: Grid) -> Any:
    import nibabel as nib

    return nib.Nifti1Image(data, grid.affine)
