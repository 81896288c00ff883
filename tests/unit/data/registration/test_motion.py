"""Planted motion comes back, and what holds no motion is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectrum.data.images import read_bold
from spectrum.data.registration.motion import MIN_VOXELS, estimate_motion
from spectrum.data.registration.places import place_matrix
from spectrum.data.simulate.anatomy import Head
from spectrum.errors import ImageError
from tests.itk_rigid import itk_place
from tests.moved_heads import (
    NATIVE,
    Geometry,
    MovedRun,
    fine_head,
    moved_run,
    place_errors,
    places_of,
    wandering,
)

SMALL = Geometry(matrix=40, num_slices=19, slice_mm=7.0)


@pytest.fixture(scope="module")
def head() -> Head:
    return fine_head("ds000002/sub-01", fine_mm=4.0)


@pytest.fixture(scope="module")
def small_run(head: Head) -> MovedRun:
    rng = np.random.default_rng(7)
    motion_V6 = wandering(11, fd_mm=0.5, rng=rng)
    return moved_run(head, SMALL, places_of(motion_V6), tsnr=60.0, rng=rng)


def test_planted_motion_is_found(small_run: MovedRun) -> None:
    found = estimate_motion(small_run.data_XYZV, small_run.affine)
    mm, degrees = place_errors(found.places_V44, small_run.places_V44)
    assert np.median(mm) <= 0.1
    assert np.median(degrees) <= 0.1
    assert found.similarity_V.min() > 0.99


def test_parameters_say_how_the_head_went(head: Head, rng: np.random.Generator) -> None:
    motion_V6 = np.zeros((7, 6))
    motion_V6[4] = [1.0, -2.0, 1.5, 0.02, -0.03, 0.01]
    run = moved_run(head, SMALL, places_of(motion_V6), tsnr=200.0, rng=rng)
    found = estimate_motion(run.data_XYZV, run.affine)
    there = place_matrix(motion_V6[4], np.array([0.0, -18.0, 11.0]))
    expected = there @ np.append(found.center_mm, 1.0)
    assert found.motion_V6[4, 3:] == pytest.approx(motion_V6[4, 3:], abs=2e-3)
    assert found.motion_V6[4, :3] == pytest.approx(expected[:3] - found.center_mm, abs=0.1)
    assert np.abs(np.delete(found.motion_V6, 4, axis=0)[:, :3]).max() < 0.05


def test_matrices_and_parameters_say_the_same(small_run: MovedRun) -> None:
    found = estimate_motion(small_run.data_XYZV, small_run.affine)
    for parameters, place in zip(found.motion_V6, found.places_V44, strict=True):
        np.testing.assert_allclose(place_matrix(parameters, found.center_mm), place, atol=1e-9)


def test_a_head_that_lies_still_does_not_move(small_run: MovedRun) -> None:
    still_XYZV = np.repeat(small_run.data_XYZV[..., :1], 5, axis=3)
    found = estimate_motion(still_XYZV, small_run.affine)
    assert np.abs(found.motion_V6).max() < 1e-6
    assert np.isnan(found.fd_mm[0])
    assert np.nanmax(found.fd_mm) < 1e-6


def test_drift_of_intensity_is_not_motion(head: Head, rng: np.random.Generator) -> None:
    gain_V = np.linspace(1.0, 1.2, 9)
    places = places_of(np.zeros((9, 6)))
    run = moved_run(head, SMALL, places, tsnr=200.0, rng=rng, gain_V=gain_V)
    found = estimate_motion(run.data_XYZV + 50.0 * gain_V.astype(np.float32), run.affine)
    assert np.abs(found.motion_V6[:, :3]).max() < 0.05
    assert np.degrees(np.abs(found.motion_V6[:, 3:])).max() < 0.05


def test_a_jump_of_centimetres_is_found(head: Head, rng: np.random.Generator) -> None:
    motion_V6 = np.zeros((5, 6))
    motion_V6[3:] = [9.0, -8.0, 6.0, 0.1, -0.08, 0.12]
    run = moved_run(head, SMALL, places_of(motion_V6), tsnr=100.0, rng=rng)
    found = estimate_motion(run.data_XYZV, run.affine)
    mm, degrees = place_errors(found.places_V44, run.places_V44)
    assert mm.max() < 0.2
    assert degrees.max() < 0.3


def test_few_large_voxels_settle_too(head: Head, rng: np.random.Generator) -> None:
    """Points at the edge of the slab come and go; a fit that lets them jump never ends."""
    coarse = Geometry(matrix=16, num_slices=21, slice_mm=6.0)
    run = moved_run(head, coarse, places_of(wandering(60, fd_mm=0.4, rng=rng)), tsnr=60.0, rng=rng)
    found = estimate_motion(run.data_XYZV, run.affine)
    mm, degrees = place_errors(found.places_V44, run.places_V44)
    assert np.median(mm) <= 0.1
    assert np.median(degrees) <= 0.2


def test_a_spike_in_the_middle_does_not_become_the_reference(small_run: MovedRun) -> None:
    spiked_XYZV = small_run.data_XYZV.copy(order="F")
    spiked_XYZV[:, 10:20, :, 5] *= 1.5
    found = estimate_motion(spiked_XYZV, small_run.affine)
    good = np.arange(11) != 5
    mm, _ = place_errors(found.places_V44[good], small_run.places_V44[good])
    assert np.median(mm) <= 0.1


def test_threads_and_repetition_change_no_number(small_run: MovedRun) -> None:
    runs = [
        estimate_motion(small_run.data_XYZV, small_run.affine, num_threads=n) for n in (1, 1, 3)
    ]
    for other in runs[1:]:
        np.testing.assert_array_equal(other.motion_V6, runs[0].motion_V6)
        np.testing.assert_array_equal(other.reference_XYZ, runs[0].reference_XYZ)


def test_voxels_that_are_not_finite_do_not_count(small_run: MovedRun) -> None:
    holed_XYZV = small_run.data_XYZV.copy(order="F")
    holed_XYZV[20, 20, 9, 3] = np.nan
    found = estimate_motion(holed_XYZV, small_run.affine)
    mm, _ = place_errors(found.places_V44, small_run.places_V44)
    assert np.isfinite(found.reference_XYZ).all()
    assert np.median(mm) <= 0.1


def test_one_volume_is_its_own_reference(small_run: MovedRun) -> None:
    found = estimate_motion(small_run.data_XYZV[..., :1], small_run.affine)
    assert found.motion_V6.shape == (1, 6)
    assert np.abs(found.motion_V6).max() < 1e-6


@pytest.mark.parametrize("shape", [(40, 20, 1, 9), (17, 21, MIN_VOXELS - 1, 9), (9, 9, 9, 0)])
def test_motion_in_too_few_slices_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"Expected at least 5 voxels") as caught:
        estimate_motion(np.ones(shape, np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    assert caught.value.code == "motion-impossible"


def test_a_blank_run_is_refused() -> None:
    with pytest.raises(ImageError) as caught:
        estimate_motion(np.ones((7, 8, 9, 4), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    assert caught.value.code == "no-signal"


def test_a_volume_without_the_head_is_named(small_run: MovedRun, rng: np.random.Generator) -> None:
    broken_XYZV = small_run.data_XYZV.copy(order="F")
    broken_XYZV[..., 8] = rng.random(broken_XYZV.shape[:3]) * 500.0
    with pytest.raises(ImageError, match=r"1 of 11 volumes .*counted from 0: 8;") as caught:
        estimate_motion(broken_XYZV, small_run.affine)
    assert caught.value.code == "motion-failed"


def test_ours_agrees_with_simpleitk_and_is_nearer_to_the_truth(small_run: MovedRun) -> None:
    found = estimate_motion(small_run.data_XYZV, small_run.affine)
    peers_V44 = np.array(
        [
            itk_place(
                found.reference_XYZ, small_run.data_XYZV[..., v], small_run.affine, fwhm_mm=11.2
            )
            for v in range(11)
        ]
    )
    mm, degrees = place_errors(found.places_V44, peers_V44)
    peer_mm, peer_degrees = place_errors(peers_V44, small_run.places_V44)
    our_mm, our_degrees = place_errors(found.places_V44, small_run.places_V44)
    assert np.median(mm) < 0.15
    assert np.median(degrees) < 0.3
    assert np.median(our_mm) <= np.median(peer_mm)
    assert np.median(our_degrees) <= np.median(peer_degrees)


@pytest.mark.slow
def test_ours_agrees_with_simpleitk_on_a_real_run(realdata: Path) -> None:
    path = next((realdata / "bold" / "studyforrest-oneback").rglob("*_bold.nii.gz"))
    image = read_bold(path)
    found = estimate_motion(image.data_XYZV, image.affine)
    some = np.arange(0, 78, 11)
    peers_V44 = np.array(
        [
            itk_place(found.reference_XYZ, image.data_XYZV[..., v], image.affine, fwhm_mm=5.3)
            for v in some
        ]
    )
    mm, degrees = place_errors(found.places_V44[some], peers_V44)
    assert np.median(mm) < 0.05
    assert np.median(degrees) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("fd_mm", [0.1, 0.5])
def test_planted_motion_is_found_at_the_scanners_size(name: str, fd_mm: float) -> None:
    rng = np.random.default_rng(11)
    places = places_of(wandering(60, fd_mm=fd_mm, rng=rng))
    run = moved_run(fine_head(f"{name}/1"), NATIVE[name], places, tsnr=60.0, rng=rng)
    found = estimate_motion(run.data_XYZV, run.affine)
    mm, degrees = place_errors(found.places_V44, run.places_V44)
    assert np.median(mm) <= 0.1
    assert np.median(degrees) <= 0.1
