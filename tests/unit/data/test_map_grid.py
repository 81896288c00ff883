"""Maps go back to the voxels that they came from, and lie where the images did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.map_grid import map_grid, read_region, to_voxels, write_map
from spectrum.data.sequences import AXES_OF_PLANE
from spectrum.errors import ImageError
from tests.tiny_bids import tiny_affine
from tests.unit.report.planted_shards import RECIPE, plant_shards
from tests.unit.report.test_run_facts import a_run

COMMON = PreprocessingConfig(grid="common", voxel_mm=12.0)


@pytest.mark.parametrize("plane", list(AXES_OF_PLANE))
def test_a_map_in_a_plane_goes_back_to_x_y_z(plane: str) -> None:
    values_XYZ = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    stored_VZYX = values_XYZ.T[None]
    slices_SHW = stored_VZYX.transpose(AXES_OF_PLANE[plane])[0]
    np.testing.assert_array_equal(to_voxels(slices_SHW, plane), values_XYZ)


def test_a_native_map_lies_where_its_run_was_scanned(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    shards, _ = plant_shards([tiny_bids()], tmp_path / "shards")
    grid = map_grid(shards.manifest.runs, RECIPE)
    np.testing.assert_allclose(grid.affine, tiny_affine())
    assert grid.space == "scanner"


def test_a_common_grid_is_of_mni152_only_where_the_runs_are() -> None:
    runs = [a_run(1)]
    assert map_grid(runs, COMMON).space == "centred"
    registered = COMMON.model_copy(update={"normalization": "mni152"})
    assert map_grid(runs, registered).space == "MNI152"
    aligned = [run.model_copy(update={"acquisition": "space-MNI152NLin6Asym"}) for run in runs]
    assert map_grid(aligned, COMMON).space == "MNI152"


def test_a_written_map_is_read_with_its_millimetres(tmp_path: Path) -> None:
    grid = map_grid([a_run(1)], COMMON.model_copy(update={"normalization": "mni152"}))
    values_XYZ = np.random.default_rng(0).normal(size=(15, 18, 15)).astype(np.float32)
    write_map(tmp_path / "map.nii.gz", values_XYZ, grid)
    image = nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), values_XYZ)
    np.testing.assert_allclose(image.affine, grid.affine)
    assert int(image.header["sform_code"]) == 4
    laid = read_region(tmp_path / "map.nii.gz", grid, (15, 18, 15))
    np.testing.assert_array_equal(laid, values_XYZ > 0.5)


def test_a_region_that_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "region.nii"
    path.write_text("words")
    with pytest.raises(ImageError, match=r"region\.nii is no image of a region"):
        read_region(path, map_grid([a_run(1)], COMMON), (15, 18, 15))
