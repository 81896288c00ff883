"""Misplaced brains come to lie on MNI152, and what does not is an error with a code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spectrum.data.grids import Grid, find_brain
from spectrum.data.images import read_bold
from spectrum.data.registration.normalisation import LEAST_DICE, Normalisation, normalise
from spectrum.data.registration.template import mni152
from spectrum.errors import ImageError
from tests.misplaced_brains import point_error_mm, scanned, t2_brain, true_dice
from tests.moved_heads import (
    NATIVE,
    Geometry,
    Matrix,
    fine_brain,
    fine_head,
    misplaced,
    moved_run,
)

SMALL = Geometry(matrix=32, num_slices=19, slice_mm=7.0)


@pytest.fixture(scope="module")
def small_mean() -> tuple[NDArray[Any], NDArray[np.bool_], Matrix]:
    """A brain of known place: mean volume, mask, and the truth that ``to_run`` should be."""
    rng = np.random.default_rng(5)
    place = misplaced(rng) @ np.diag([0.9, 0.9, 0.9, 1.0])
    mean_XYZ, brain_XYZ = scanned(t2_brain(), mni152().affine, SMALL, place, rng)
    return mean_XYZ, brain_XYZ, place


@pytest.fixture(scope="module")
def small_found(small_mean: tuple[Any, Any, Any]) -> Normalisation:
    return normalise(small_mean[0], small_mean[1], SMALL.grid.affine)


def test_a_misplaced_brain_is_found(
    small_found: Normalisation, small_mean: tuple[Any, Any, Any]
) -> None:
    assert point_error_mm(small_found.to_run, small_mean[2]) < 2.0
    assert small_found.dice > 0.93
    assert small_found.coverage > 0.8
    assert 0.75 < small_found.scales[2] <= small_found.scales[0] < 1.05


def test_the_same_input_gives_the_same_numbers(
    small_found: Normalisation, small_mean: tuple[Any, Any, Any]
) -> None:
    again = normalise(small_mean[0], small_mean[1], SMALL.grid.affine)
    np.testing.assert_array_equal(again.to_run, small_found.to_run)


def test_axes_and_level_of_the_image_do_not_matter(
    small_found: Normalisation, small_mean: tuple[Any, Any, Any]
) -> None:
    """LAS in place of RAS, at eight times the intensity."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = SMALL.matrix - 1
    found = normalise(8.0 * small_mean[0][::-1], small_mean[1][::-1], SMALL.grid.affine @ flip)
    assert point_error_mm(found.to_run, small_found.to_run) < 0.2


def test_a_sheared_affine_is_followed(
    small_found: Normalisation, small_mean: tuple[Any, Any, Any]
) -> None:
    shear = np.eye(4)
    shear[1, 2] = 0.03
    found = normalise(small_mean[0], small_mean[1], shear @ SMALL.grid.affine)
    assert point_error_mm(np.linalg.inv(shear) @ found.to_run, small_found.to_run) < 1.0


def test_what_is_no_brain_is_refused() -> None:
    index = np.indices(SMALL.shape)
    rod_XYZ = (np.abs(index[0] - 16) < 3) & (np.abs(index[1] - 15) < 15) & (index[2] > 1)
    with pytest.raises(ImageError, match=r"not to be believed: .* switch") as caught:
        normalise(rod_XYZ * 500.0, rod_XYZ, SMALL.grid.affine)
    assert caught.value.code == "registration-failed"


@pytest.mark.parametrize(
    ("shape", "code"), [((40, 20, 1), "normalisation-impossible"), ((7, 8, 9), "empty-mask")]
)
def test_runs_without_a_brain_to_see_are_refused(shape: tuple[int, ...], code: str) -> None:
    brain_XYZ = np.full(shape, code != "empty-mask")
    with pytest.raises(ImageError) as caught:
        normalise(np.ones(shape), brain_XYZ, np.diag([3.0, 3.0, 3.0, 1.0]))
    assert caught.value.code == code


@pytest.mark.slow
@pytest.mark.parametrize("subject", range(100, 105))
@pytest.mark.parametrize("name", NATIVE)
def test_simulated_heads_overlap_the_template(name: str, subject: int) -> None:
    """Heads are ellipsoids: no affine of one overlaps MNI152's brain by more than about 0.91."""
    rng = np.random.default_rng([subject, NATIVE[name].num_slices])
    head, place = fine_head(f"{name}/{subject}"), misplaced(rng)
    run = moved_run(head, NATIVE[name], place[None], tsnr=300.0, rng=rng)
    mean_XYZ = run.data_XYZV[..., 0]
    brain_XYZ = find_brain(mean_XYZ, Grid(shape=NATIVE[name].shape, affine=run.affine))
    found = normalise(mean_XYZ, brain_XYZ, run.affine)
    assert true_dice(found.to_run, fine_brain(head), place @ head.grid.affine) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", [100, 101])
@pytest.mark.parametrize("name", NATIVE)
def test_planted_affines_are_found(name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, NATIVE[name].num_slices])
    place = misplaced(rng) @ np.diag([0.9, 0.9, 0.9, 1.0])
    mean_XYZ, brain_XYZ = scanned(t2_brain(), mni152().affine, NATIVE[name], place, rng)
    found = normalise(mean_XYZ, brain_XYZ, NATIVE[name].grid.affine)
    assert point_error_mm(found.to_run, place) < 1.5


@pytest.mark.slow
def test_a_real_run_lies_on_the_template(realdata: Any) -> None:
    path = next((realdata / "bold" / "studyforrest-oneback").rglob("*_bold.nii.gz"))
    image = read_bold(path)
    mean_XYZ = image.data_XYZV.mean(axis=3, dtype=np.float64).astype(np.float32)
    brain_XYZ = find_brain(mean_XYZ, Grid(shape=mean_XYZ.shape, affine=image.affine))
    found = normalise(mean_XYZ, brain_XYZ, image.affine)
    assert found.dice > 0.9 > LEAST_DICE
