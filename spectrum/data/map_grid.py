"""Where a map over a model's slices lies: the way back to voxels X, Y, Z and to millimetres.

Not here: what a map means (``spectrum.model.attention_maps``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.grids import MNI_BRAIN_CENTRE_MM, common_grid
from spectrum.data.manifest import ShardRun
from spectrum.data.places import slice_step_mm
from spectrum.data.sequences import AXES_OF_PLANE
from spectrum.errors import ImageError

__all__ = ["MapGrid", "map_grid", "read_region", "to_voxels", "write_map"]

Space = Literal["MNI152", "centred", "scanner"]

ALIGNED_CODE, SCANNER_CODE, TEMPLATE_CODE = 2, 1, 4
"""Codes of the NIfTI-1 header: aligned to something, scanner, MNI152."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapGrid:
    """The affine (4, 4) from indices X, Y, Z to millimetres, and what the millimetres are.

    ``MNI152``: the runs were registered to the template, or came so. ``centred``: the brain's
    centre of mass was laid on the template's and nothing else, so that millimetres are those of
    MNI152 by and large. ``scanner``: the first run's own; others may lie elsewhere.
    """

    affine: NDArray[np.float64]
    space: Space

    @property
    def told(self) -> str:
        """What the millimetres mean, as a sentence."""
        return {
            "MNI152": "Millimetres are of MNI152.",
            "centred": "The runs were centred on MNI152 and not registered to it: millimetres "
            "and names of regions are rough.",
            "scanner": "Voxels are the scanner's, averaged by their indices; millimetres are "
            "those of the first run, and regions have no names.",
        }[self.space]


def map_grid(runs: Sequence[ShardRun], recipe: PreprocessingConfig) -> MapGrid:
    """Return where the voxels of some runs of one recipe lie, all of them or the first one's."""
    is_aligned = recipe.normalization == "mni152" or all(
        "space-MNI152" in run.acquisition for run in runs
    )
    if recipe.grid == "common":
        affine = common_grid(recipe.voxel_mm).affine
        return MapGrid(affine=affine, space="MNI152" if is_aligned else "centred")
    first = runs[0]
    affine = _by_edges(first, recipe) if first.affine is None else np.array(first.affine)
    return MapGrid(affine=np.vstack([affine[:3], [0, 0, 0, 1]]), space=_space(is_aligned))


def _space(is_aligned: bool) -> Space:
    return "MNI152" if is_aligned else "scanner"


def _by_edges(run: ShardRun, recipe: PreprocessingConfig) -> NDArray[np.float64]:
    """Return an affine from the edges of voxels alone, the middle at the brain's in MNI152."""
    planes = ("sagittal", "coronal", "axial")
    edges_mm = np.array([slice_step_mm(run, recipe, plane) for plane in planes])
    affine = np.diag([*edges_mm, 1.0])
    middle = (np.array(run.shape_SHW[::-1]) - 1) / 2.0
    affine[:3, 3] = np.array(MNI_BRAIN_CENTRE_MM) - edges_mm * middle
    return affine


def to_voxels(values_SHW: NDArray[Any], plane: str) -> NDArray[Any]:
    """Return values over the slices of a plane as X, Y, Z; leading axes stay.

    Examples
    --------
    >>> to_voxels(np.zeros((2, 3, 5)), "axial").shape  # S is Z, H is Y, W is X
    (5, 3, 2)
    >>> to_voxels(np.zeros((9, 2, 3, 5)), "sagittal").shape  # S is X, H is Z, W is Y
    (9, 2, 5, 3)
    """
    leading = values_SHW.ndim - 3
    back = np.argsort([axis - 1 for axis in AXES_OF_PLANE[plane][1:]])
    axes = [*range(leading), *(leading + int(axis) for axis in back[::-1])]
    return values_SHW.transpose(axes)


def read_region(path: Path, grid: MapGrid, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which voxels of a map lie in a region: the centre in a voxel of the image above 0.5.

    Raises
    ------
    ImageError
        Where the file is no 3-D image.
    """
    from nibabel.filebasedimages import ImageFileError
    from nilearn.image import resample_img

    try:
        image = nib.load(path)
    except (OSError, ImageFileError) as err:
        raise ImageError(f"{path} is no image of a region ({err}). Give a NIfTI mask.") from err
    if len(image.shape) != 3:
        raise ImageError(f"{path} has the shape {image.shape}. Give a mask of three dimensions.")
    values = nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    laid = resample_img(
        values,
        target_affine=grid.affine,
        target_shape=shape,
        interpolation="nearest",
        force_resample=True,
        copy_header=True,
    )
    return np.asarray(laid.dataobj) > 0.5


def write_map(path: Path, values_XYZ: NDArray[Any], grid: MapGrid) -> None:
    """Write a map as NIfTI-1, float32, millimetres, with the code of its space."""
    image = nib.Nifti1Image(np.ascontiguousarray(values_XYZ, dtype=np.float32), grid.affine)
    code = {"MNI152": TEMPLATE_CODE, "centred": ALIGNED_CODE, "scanner": SCANNER_CODE}[grid.space]
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code)
    image.set_qform(grid.affine, code)
    nib.save(image, path)
