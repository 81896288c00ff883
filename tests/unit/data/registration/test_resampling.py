"""One interpolation: still runs stay, moved runs come back, nothing is invented outside."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spectrum.data.grids import Grid
from spectrum.data.registration.motion import estimate_motion
from spectrum.data.registration.places import place_matrix
from spectrum.data.registration.resampling import resample_run
from tests.moved_heads import Geometry, fine_head, moved_run, places_of, wandering

AFFINE = np.array([[-3.0, 0, 0, 30], [0, 3.5, 0, -40], [0, 0, 5, -20], [0, 0, 0, 1]])


@pytest.fixture
def source() -> Grid:
    return Grid(shape=(11, 12, 9), affine=AFFINE)


@pytest.fixture(name="data_XYZV")
def random_run(rng: np.random.Generator) -> NDArray[np.float32]:
    return np.asfortranarray(rng.random((11, 12, 9, 4), dtype=np.float32) * 900.0)


def test_the_same_grid_without_motion_gives_the_run_back(
    data_XYZV: NDArray[np.float32], source: Grid
) -> None:
    same, inside = resample_run(data_XYZV, source, source, places_V44=np.eye(4))
    np.testing.assert_allclose(same, data_XYZV, atol=1e-2)
    assert inside.all()
    assert same.flags.f_contiguous


def test_estimated_stillness_leaves_the_run_as_it_is(rng: np.random.Generator) -> None:
    geometry = Geometry(matrix=32, num_slices=15, slice_mm=9.0)
    head = fine_head("ds000052/sub-02", fine_mm=5.0)
    run = moved_run(head, geometry, places_of(np.zeros((1, 6))), tsnr=60.0, rng=rng)
    still_XYZV = np.repeat(run.data_XYZV, 4, axis=3)
    grid = Grid(shape=geometry.shape, affine=run.affine)
    found = estimate_motion(still_XYZV, run.affine)
    same, _ = resample_run(still_XYZV, grid, grid, places_V44=found.places_V44)
    np.testing.assert_allclose(same, still_XYZV, atol=0.05)


def test_motion_correction_leaves_what_the_truth_would_leave(rng: np.random.Generator) -> None:
    geometry = Geometry(matrix=40, num_slices=25, slice_mm=5.0)
    places = places_of(wandering(9, fd_mm=1.0, rng=rng))
    head = fine_head("ds000052/sub-02", fine_mm=4.0)
    run = moved_run(head, geometry, places, tsnr=None, rng=rng)
    grid = Grid(shape=geometry.shape, affine=run.affine)
    found = estimate_motion(run.data_XYZV, run.affine)
    fixed, inside = resample_run(run.data_XYZV, grid, grid, places_V44=found.places_V44)
    at_rest = run.places_V44 @ np.linalg.inv(run.places_V44[4])
    best, inside_best = resample_run(run.data_XYZV, grid, grid, places_V44=at_rest)
    both = inside & inside_best
    before, after, least = (
        np.sqrt(data[both].var(axis=1).mean()) for data in (run.data_XYZV, fixed, best)
    )
    assert after < 0.6 * before
    assert after < 1.05 * least


def test_motion_and_normalisation_are_one_product(
    data_XYZV: NDArray[np.float32], source: Grid
) -> None:
    """A whole voxel of motion undone by a whole voxel of normalisation blurs nothing."""
    step = np.eye(4)
    step[:3, 3] = AFFINE[:3, :3] @ [1.0, 0.0, 0.0]
    product = np.broadcast_to(step, (4, 4, 4)) @ np.linalg.inv(step)
    same, _ = resample_run(data_XYZV, source, source, places_V44=product)
    np.testing.assert_allclose(same, data_XYZV, atol=1e-2)


def test_every_volume_goes_by_its_own_matrix(data_XYZV: NDArray[np.float32], source: Grid) -> None:
    places = np.stack([np.eye(4)] * 4)
    places[2, :3, 3] = AFFINE[:3, :3] @ [0.0, 0.0, 2.0]
    moved, inside = resample_run(data_XYZV, source, source, places_V44=places)
    np.testing.assert_allclose(moved[:, :, :-2, 2], data_XYZV[:, :, 2:, 2], atol=1e-2)
    np.testing.assert_allclose(moved[..., 3], data_XYZV[..., 3], atol=1e-2)
    assert inside[:, :, :-2].all()
    assert not inside[:, :, -2:].any()
    assert not moved[:, :, -2:, 2].any()


def test_a_constant_stays_and_values_stay_in_range(rng: np.random.Generator) -> None:
    source = Grid(shape=(11, 12, 9), affine=AFFINE)
    target = Grid(shape=(7, 8, 6), affine=np.diag([4.0, 4.0, 4.0, 1.0]))
    tilt = place_matrix(np.array([1.0, 2.0, 0.5, 0.1, 0.05, -0.1]), np.zeros(3))
    flat = np.full((11, 12, 9, 2), 500.0, np.float32)
    sharp = (rng.random((11, 12, 9, 2)) > 0.5).astype(np.int16) * 800
    kept, inside = resample_run(flat, source, target, places_V44=tilt)
    ranged, _ = resample_run(sharp, source, target, places_V44=tilt)
    assert inside.any()
    np.testing.assert_allclose(kept[inside], 500.0, rtol=1e-5)
    assert ranged.min() >= 0.0
    assert ranged.max() <= 800.0


def test_wanted_voxels_are_the_same_as_among_all(
    data_XYZV: NDArray[np.float32], source: Grid, rng: np.random.Generator
) -> None:
    tilt = place_matrix(np.array([1.0, 2.0, 0.5, 0.1, 0.05, -0.1]), np.zeros(3))
    wanted_XYZ = rng.random(source.shape) > 0.5
    whole, inside = resample_run(data_XYZV, source, source, places_V44=tilt)
    part, part_inside = resample_run(
        data_XYZV, source, source, places_V44=tilt, wanted_XYZ=wanted_XYZ
    )
    np.testing.assert_array_equal(part, np.where(wanted_XYZ[..., None], whole, 0))
    np.testing.assert_array_equal(part_inside, inside & wanted_XYZ)


def test_larger_voxels_do_not_alias(source: Grid) -> None:
    """A pattern of single voxels, far too fine for the target, averages out."""
    stripes = np.zeros((11, 12, 9, 2), np.float32)
    stripes[::2] = 100.0
    target_affine = np.diag([9.0, 9.0, 9.0, 1.0])
    target_affine[:3, 3] = [6.0, -28.0, -1.0]
    target = Grid(shape=(2, 3, 3), affine=target_affine)
    coarse, inside = resample_run(stripes, source, target, places_V44=np.eye(4))
    assert np.abs(coarse[inside] - 50.0).max() < 2.0


def test_threads_change_no_number(data_XYZV: NDArray[np.float32], source: Grid) -> None:
    tilt = place_matrix(np.array([1.0, 2.0, 0.5, 0.1, 0.05, -0.1]), np.zeros(3))
    one, three = (
        resample_run(data_XYZV, source, source, places_V44=tilt, num_threads=n)[0] for n in (1, 3)
    )
    np.testing.assert_array_equal(one, three)


def test_a_voxel_that_is_not_finite_spreads_nothing(
    data_XYZV: NDArray[np.float32], source: Grid
) -> None:
    data_XYZV[5, 5, 4, 2] = np.nan
    moved, _ = resample_run(data_XYZV, source, source, places_V44=np.eye(4))
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(moved[5, 5, 4], 0.0, atol=1e-2)


def test_a_run_out_of_sight_is_empty(data_XYZV: NDArray[np.float32], source: Grid) -> None:
    away = np.eye(4)
    away[:3, 3] = 1e4
    moved, inside = resample_run(data_XYZV, source, source, places_V44=away)
    assert not moved.any()
    assert not inside.any()
