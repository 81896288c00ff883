"""The spatial part as recipes use it: what is corrected, what is left alone, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.images import BoldImage
from spectrum.data.recipe import convert_run, finish_recipe, prefix_fingerprints
from spectrum.data.registration.template import mni152
from spectrum.data.spatial import Surroundings, apply_spatial
from spectrum.errors import ImageError
from tests.misplaced_brains import scanned, t2_brain
from tests.moved_heads import (
    Geometry,
    fine_head,
    misplaced,
    moved_run,
    place_errors,
    places_of,
    wandering,
)

SMALL = Geometry(matrix=32, num_slices=19, slice_mm=7.0)
COMMON = PreprocessingConfig(voxel_mm=8.0, high_pass_hz=0.0)


def changed(**values: Any) -> PreprocessingConfig:
    return PreprocessingConfig.model_validate({**COMMON.model_dump(), **values})


def bold(data_XYZV: Any, affine: Any) -> BoldImage:
    voxel_mm = tuple(float(edge) for edge in np.linalg.norm(affine[:3, :3], axis=0))
    return BoldImage(
        data_XYZV=np.asfortranarray(data_XYZV, dtype=np.float32),
        affine=affine,
        voxel_mm=voxel_mm,  # type: ignore[arg-type]
        tr_s=2.0,
        sha256="0" * 64,
    )


@pytest.fixture(scope="module")
def moving() -> tuple[BoldImage, Any]:
    """A noisy run of a head that wanders, and where it was."""
    rng = np.random.default_rng(7)
    places = places_of(wandering(12, fd_mm=1.2, rng=rng))
    head = fine_head("ds000002/sub-01", fine_mm=4.0)
    run = moved_run(head, SMALL, places, tsnr=1000.0, rng=rng)
    return bold(run.data_XYZV, run.affine), places


@pytest.fixture(scope="module")
def misplaced_image() -> BoldImage:
    """A run of three volumes of a brain that lies off MNI152."""
    rng = np.random.default_rng(5)
    place = misplaced(rng) @ np.diag([0.9, 0.9, 0.9, 1.0])
    mean_XYZ, _ = scanned(t2_brain(), mni152().affine, SMALL, place, rng)
    noise = rng.normal(scale=0.01 * mean_XYZ.max(), size=(*mean_XYZ.shape, 3))
    return bold(mean_XYZ[..., None] + noise, SMALL.grid.affine)


def test_motion_correction_takes_motion_out_and_tells_it(moving: tuple[BoldImage, Any]) -> None:
    image, places = moving
    raw = apply_spatial(image, config=COMMON)
    corrected = apply_spatial(image, config=changed(motion_correction=True))
    assert raw.motion_V6 is None
    assert corrected.motion_V6 is not None
    assert corrected.fd_V is not None
    assert np.isnan(corrected.fd_V[0])
    assert np.nanmean(corrected.fd_V) > 0.3
    variation = [
        float(np.median(spatial.signals_VN.std(axis=0) / spatial.signals_VN.mean(axis=0)))
        for spatial in (raw, corrected)
    ]
    assert variation[1] < 0.6 * variation[0]
    assert place_errors(places, places)[0].max() < 1e-9


def test_dropped_volumes_have_no_motion(moving: tuple[BoldImage, Any]) -> None:
    config = changed(motion_correction=True, drop_initial_volumes=2, confounds="motion6")
    spatial = apply_spatial(moving[0], config=config)
    assert spatial.motion_V6 is not None
    assert spatial.motion_V6.shape == (10, 6)
    finished = finish_recipe(spatial, tr_s=2.0, config=config)
    assert finished.slices_VSHW.shape[0] == 10


def test_motion_can_be_regressed_out_where_it_was_found(moving: tuple[BoldImage, Any]) -> None:
    with pytest.raises(ImageError) as caught:
        convert_run(moving[0], tr_s=2.0, config=changed(confounds="motion6"))
    assert caught.value.code == "no-motion"
    config = changed(confounds="motion6", motion_correction=True)
    assert convert_run(moving[0], tr_s=2.0, config=config).slices_VSHW.any()


def test_what_was_corrected_before_is_not_corrected_again(moving: tuple[BoldImage, Any]) -> None:
    config = changed(motion_correction=True, slice_timing="ascending")
    known = Surroundings(is_corrected=True)
    again = apply_spatial(moving[0], config=config, tr_s=2.0, surroundings=known)
    plain = apply_spatial(moving[0], config=COMMON)
    np.testing.assert_array_equal(again.signals_VN, plain.signals_VN)
    assert again.motion_V6 is None


def test_one_slice_cannot_be_corrected_and_is_refused(rng: np.random.Generator) -> None:
    image = bold(100 + rng.normal(size=(9, 8, 1, 11)), np.diag([3.0, 3.0, 3.0, 1.0]))
    with pytest.raises(ImageError) as caught:
        apply_spatial(image, config=changed(motion_correction=True))
    assert caught.value.code == "motion-impossible"


def test_a_normalised_run_has_the_mask_of_the_template_and_tells_its_overlap(
    misplaced_image: BoldImage,
) -> None:
    spatial = apply_spatial(misplaced_image, config=changed(normalization="mni152"))
    assert spatial.template_dice is not None
    assert spatial.template_dice > 0.9
    assert spatial.template_coverage is not None
    assert 0.6 < spatial.template_coverage <= 1.0
    template = mni152()
    index = np.argwhere(spatial.inside_XYZ)
    inside_mm = spatial.grid.affine @ np.vstack([index.T, np.ones((1, len(index)))])
    where = np.rint(np.linalg.inv(template.affine) @ inside_mm)[:3].astype(int)
    assert template.brain_XYZ[tuple(where)].mean() > 0.9


def test_a_run_in_the_template_s_space_is_not_registered_again(
    misplaced_image: BoldImage,
) -> None:
    known = Surroundings(is_aligned=True, is_corrected=True)
    config = changed(normalization="mni152")
    spatial = apply_spatial(misplaced_image, config=config, surroundings=known)
    assert spatial.template_dice is None


def test_slice_times_are_taken_from_the_sidecar_or_refused(moving: tuple[BoldImage, Any]) -> None:
    config = changed(slice_timing="sidecar")
    with pytest.raises(ImageError, match="No sidecar tells when the slices") as caught:
        apply_spatial(moving[0], config=config, tr_s=2.0)
    assert caught.value.code == "no-slice-timing"
    times_s = tuple(2.0 * index / SMALL.num_slices for index in range(SMALL.num_slices))
    whole = np.ones(SMALL.shape, dtype=bool)
    known = Surroundings(slice_times_s=times_s, brain_XYZ=whole)
    told = apply_spatial(moving[0], config=config, tr_s=2.0, surroundings=known)
    stated = apply_spatial(
        moving[0], config=changed(slice_timing="ascending"), tr_s=2.0, surroundings=known
    )
    np.testing.assert_allclose(told.signals_VN, stated.signals_VN, rtol=1e-4)
    plain = apply_spatial(moving[0], config=COMMON, surroundings=known)
    assert np.abs(told.signals_VN - plain.signals_VN).max() > 1.0


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ({"motion_correction": True}, "motion"),
        ({"slice_timing": "ascending"}, "slice_timing"),
        ({"normalization": "mni152"}, "normalization"),
    ],
)
def test_each_spatial_step_decides_the_fingerprint_from_its_place_on(
    values: dict[str, Any], step: str
) -> None:
    plain = prefix_fingerprints("image", 2.0, COMMON)
    other = prefix_fingerprints("image", 2.0, changed(**values))
    names = list(plain)
    first = names.index(step)
    assert [plain[name] == other[name] for name in names] == [
        index < first for index in range(len(names))
    ]


def test_normalisation_needs_the_grid_of_the_template() -> None:
    with pytest.raises(ValueError, match="The template lies on grid: common"):
        changed(normalization="mni152", grid="native")
