"""Grids that a run ends on, and the brain of a mean volume."""

from __future__ import annotations

import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.grids import MNI_BRAIN_CENTRE_MM, Grid, build_grid, find_brain
from tests.tiny_bids import tiny_affine


@pytest.mark.parametrize("shape", [(7, 8, 9), (3, 5, 2), (10, 9, 12)])
def test_a_matrix_covers_the_whole_field_of_view(shape: tuple[int, int, int]) -> None:
    source = Grid(shape=(7, 8, 9), affine=tiny_affine())
    config = PreprocessingConfig(grid="matrix", matrix=shape)
    grid = build_grid(source, np.ones((7, 8, 9), bool), config, is_aligned=False)
    assert grid.shape == shape
    corners = np.array([[-0.5] * 3, [side - 0.5 for side in shape]])
    expected = np.array([[-0.5] * 3, [6.5, 7.5, 8.5]])
    np.testing.assert_allclose(
        corners @ grid.affine[:3, :3].T + grid.affine[:3, 3],
        expected @ source.affine[:3, :3].T + source.affine[:3, 3],
    )


@pytest.mark.parametrize("voxel_mm", [2.0, 3.0, 4.0, 6.0, 8.0, 12.5])
def test_the_common_grid_covers_mni_in_cubes(voxel_mm: float) -> None:
    source = Grid(shape=(7, 8, 9), affine=tiny_affine())
    config = PreprocessingConfig(grid="common", voxel_mm=voxel_mm)
    grid = build_grid(source, np.ones((7, 8, 9), bool), config, is_aligned=True)
    np.testing.assert_allclose(grid.voxel_mm, voxel_mm)
    edges = np.array([[-0.5] * 3, np.array(grid.shape) - 0.5]) * voxel_mm + grid.affine[:3, 3]
    assert (edges[0] <= [-90, -126, -72]).all()
    assert (edges[1] >= [90, 90, 108]).all()
    assert (np.ptp(edges, axis=0) - [180, 216, 180] < voxel_mm).all()


def test_the_centre_of_the_template_is_that_of_nilearns_mask() -> None:
    from nilearn.datasets import load_mni152_brain_mask

    mask = load_mni152_brain_mask(resolution=2)
    centre = np.argwhere(mask.get_fdata() > 0).mean(axis=0)
    centre_mm = mask.affine[:3, :3] @ centre + mask.affine[:3, 3]
    np.testing.assert_allclose(centre_mm, MNI_BRAIN_CENTRE_MM, atol=0.1)


def test_a_skull_stripped_image_keeps_its_voxels() -> None:
    data = np.zeros((17, 18, 19), dtype=np.float32)
    data[6:11, 6:11, 6:11] = np.random.default_rng(1).uniform(400, 900, (5, 5, 5))
    brain = find_brain(data, Grid(shape=data.shape, affine=tiny_affine()))
    np.testing.assert_array_equal(brain & (data == 0), False)
    assert brain[data > 0].mean() > 0.4
