"""Grids that a run ends on: a brain mask, and a target affine.

Not here: the way from one grid to another (``resampling``), and the order of the steps
(``recipe``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.quality import otsu_threshold

__all__ = ["Box", "Grid", "box_around", "build_grid", "common_grid", "cropped", "find_brain"]

MNI_EXTENT_MM: Final = ((-90.0, 90.0), (-126.0, 90.0), (-72.0, 108.0))
"""Extent of the MNI152 template (ICBM 2009, as FSL and nilearn ship it) along x, y and z."""

MNI_BRAIN_CENTRE_MM: Final = (0.0, -22.0, 9.5)
"""Centre of mass of ``nilearn.datasets.load_mni152_brain_mask(resolution=1)`` (nilearn 0.14):
(0.00, -22.00, 9.55)."""

OPENING_MM: Final = 6.0
"""nilearn opens a mask by 2 voxels, made for 3 mm; larger voxels are opened by fewer."""

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

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The affine as plain rows."""
        return tuple(tuple(row) for row in self.affine.tolist())


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
    common = common_grid(config.voxel_mm)
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


def common_grid(voxel_mm: float) -> Grid:
    """Return the grid of cubes of an edge that covers MNI152, as laid on the template."""
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
    import nibabel as nib
    from nilearn.masking import compute_epi_mask

    opening = min(
        2, int(OPENING_MM // float(grid.voxel_mm.max())), max(0, (min(grid.shape) - 1) // 4)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mask = compute_epi_mask(nib.Nifti1Image(mean_XYZ, grid.affine), opening=opening)
            brain_XYZ = np.asarray(mask.dataobj) > 0
        except ValueError:
            brain_XYZ = np.zeros(mean_XYZ.shape, dtype=bool)
    if brain_XYZ.any() and not brain_XYZ.all():
        return np.asarray(brain_XYZ)
    return np.asarray(mean_XYZ > otsu_threshold(mean_XYZ.astype(np.float64)))


def box_around(mask_XYZ: NDArray[np.bool_], margin: tuple[int, int, int] = (0, 0, 0)) -> Box:
    """Return the smallest box that holds a mask, and ``margin`` voxels more on each side."""
    if not mask_XYZ.any():
        return slice(0, 1), slice(0, 1), slice(0, 1)
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask_XYZ.any(axis=others))
        low = max(0, int(used[0]) - margin[axis])
        sides.append(slice(low, min(mask_XYZ.shape[axis], int(used[-1]) + 1 + margin[axis])))
    return sides[0], sides[1], sides[2]


def cropped(grid: Grid, box: Box) -> Grid:
    """Return the part of a grid that lies in a box."""
    corner = np.array([side.start for side in box], dtype=np.float64)
    x, y, z = (side.stop - side.start for side in box)
    return Grid(shape=(x, y, z), affine=_moved(grid.affine, grid.affine[:3, :3] @ corner))
