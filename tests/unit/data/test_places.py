from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.places import slice_centres_mm, slice_step_mm
from tests.unit.data.fake_shards import FakeRun, key

RUN = FakeRun(
    key=key(),
    voxel_mm=(3.0, 3.5, 5.0),
    source_shape=(64, 72, 25, 110),
    shape_SHW=(25, 72, 64),
)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_common_grid_has_the_recipes_step_in_every_plane(plane: str) -> None:
    assert slice_step_mm(RUN, PreprocessingConfig(grid="common", voxel_mm=6.0), plane) == 6.0


@pytest.mark.parametrize(
    ("plane", "step_mm"), [("axial", 5.0), ("coronal", 3.5), ("sagittal", 3.0)]
)
def test_native_slices_are_a_voxel_apart(plane: str, step_mm: float) -> None:
    assert slice_step_mm(RUN, PreprocessingConfig(grid="native"), plane) == step_mm


def test_native_slices_of_a_file_with_another_order_of_axes_are_found_by_their_number() -> None:
    turned = replace(RUN, voxel_mm=(3.5, 5.0, 3.0), source_shape=(72, 25, 64, 110))
    steps = {
        plane: slice_step_mm(turned, PreprocessingConfig(grid="native"), plane)
        for plane in ("axial", "coronal", "sagittal")
    }
    assert steps == {"axial": 5.0, "coronal": 3.5, "sagittal": 3.0}


def test_a_matrix_divides_the_field_of_view() -> None:
    recipe = PreprocessingConfig(grid="matrix", matrix=(32, 36, 20))
    assert slice_step_mm(RUN, recipe, "axial") == pytest.approx(125.0 / 20)
    assert slice_step_mm(RUN, recipe, "coronal") == pytest.approx(7.0)


@pytest.mark.parametrize("num_slices", [1, 2, 21, 30])
def test_centres_are_a_step_apart_about_the_middle(num_slices: int) -> None:
    centres = slice_centres_mm(num_slices, 4.5)
    assert centres.shape == (num_slices,)
    assert centres.mean() == pytest.approx(0.0)
    np.testing.assert_allclose(np.diff(centres), 4.5)
