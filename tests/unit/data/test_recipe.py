"""The recipe: order, axes, grids, masks and time, against planted truth and against nilearn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.grids import MNI_BRAIN_CENTRE_MM, Grid, build_grid
from spectrum.data.images import BoldImage
from spectrum.data.recipe import (
    Surroundings,
    apply_recipe,
    apply_spatial,
    convert_run,
    finish_recipe,
)
from spectrum.errors import ImageError
from tests.tiny_bids import tiny_affine, tiny_data

TR_S = 2.0


def _image(data: NDArray[Any], affine: NDArray[np.float64] | None = None) -> BoldImage:
    return BoldImage(
        data_XYZV=data,
        affine=tiny_affine() if affine is None else affine,
        voxel_mm=(5.0, 6.0, 7.0),
        tr_s=TR_S,
        sha256="0" * 64,
    )


def _config(**settings: Any) -> PreprocessingConfig:
    plain = {"grid": "native", "fwhm_mm": 0.0, "high_pass_hz": 0.0, "detrend": False}
    return PreprocessingConfig.model_validate({**plain, "standardization": "none", **settings})


def _apply(data: NDArray[Any], affine: Any = None, **settings: Any) -> NDArray[np.float64]:
    image = _image(data, affine)
    return apply_recipe(image, tr_s=TR_S, config=_config(**settings)).astype(np.float64)


def _code(data: NDArray[Any], **settings: Any) -> str:
    with pytest.raises(ImageError) as caught:
        apply_recipe(_image(data), tr_s=TR_S, config=_config(**settings))
    return caught.value.code


def test_without_steps_the_slices_are_the_voxels_with_z_y_x_as_s_h_w() -> None:
    data = tiny_data(11, seed=1)
    slices = _apply(data, brain_mask=False)
    assert slices.shape == (11, 9, 8, 7)
    np.testing.assert_array_equal(slices, data.transpose(3, 2, 1, 0).astype(np.float16))


@pytest.mark.parametrize("flips", [(0,), (1,), (0, 1), (2,)])
def test_the_way_a_scanner_stores_its_axes_does_not_change_a_slice(flips: tuple[int, ...]) -> None:
    data = tiny_data(11, seed=1)
    flipped, affine = data, tiny_affine()
    for axis in flips:
        flipped = np.flip(flipped, axis)
        turn = np.eye(4)
        turn[axis, axis], turn[axis, 3] = -1.0, data.shape[axis] - 1
        affine = affine @ turn
    np.testing.assert_array_equal(_apply(flipped, affine), _apply(data))
    np.testing.assert_array_equal(
        _apply(flipped, affine, grid="common"), _apply(data, grid="common")
    )


def test_swapped_axes_still_give_axial_slices() -> None:
    data = tiny_data(11, seed=1)
    order = (2, 0, 1)
    affine = tiny_affine()[:, [*order, 3]]
    np.testing.assert_array_equal(
        _apply(data.transpose(*order, 3), affine, brain_mask=False),
        _apply(data, brain_mask=False),
    )


def test_initial_volumes_are_dropped_before_anything_else() -> None:
    data = tiny_data(20, seed=1)
    data[..., :3] += 500
    np.testing.assert_array_equal(
        _apply(data, drop_initial_volumes=3, standardization="zscore"),
        _apply(data[..., 3:], standardization="zscore"),
    )


def test_the_mask_keeps_the_head_and_nothing_of_the_air() -> None:
    data = tiny_data(11, seed=1)
    head_ZYX = (data.mean(axis=3) > 500).T
    inside = (_apply(data) != 0).any(axis=0)
    assert not (inside & ~head_ZYX).any()
    assert inside[head_ZYX].mean() > 0.9


@pytest.mark.parametrize("grid", ["native", "common", "matrix"])
@pytest.mark.parametrize("fwhm_mm", [0.0, 9.0])
def test_air_never_reaches_a_voxel_of_the_brain(grid: str, fwhm_mm: float) -> None:
    data = tiny_data(12, seed=1)
    head = data.mean(axis=3) > 500
    other = data.copy()
    other[~head] = 30_000
    settings = {"grid": grid, "matrix": (5, 4, 6) if grid == "matrix" else None}
    config = _config(fwhm_mm=fwhm_mm, **settings)
    known = Surroundings(brain_XYZ=head)
    one, two = (
        apply_recipe(_image(d), tr_s=TR_S, config=config, surroundings=known)
        for d in (data, other)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != 0).any()


def test_a_flat_head_stays_flat_through_grid_and_smoothing() -> None:
    data = np.zeros((13, 14, 15, 3), dtype=np.float32)
    data[2:11, 3:11, 2:12] = 700.0
    data[..., 1] *= 1.5
    for grid in ("native", "common"):
        slices = _apply(data, grid=grid, fwhm_mm=10.0, voxel_mm=6.0)
        inside = slices[0] != 0
        np.testing.assert_allclose(slices[0][inside], 700.0, rtol=2e-3)
        np.testing.assert_allclose(slices[1][inside], 1050.0, rtol=2e-3)


def test_smoothing_inside_equals_nilearn_where_the_mask_is_far() -> None:
    from nilearn.image import smooth_img

    rng = np.random.default_rng(7)
    data = rng.normal(100.0, 10.0, (17, 18, 19, 3)).astype(np.float32)
    import nibabel as nib

    peer = smooth_img(nib.Nifti1Image(data, np.diag([3.0, 3.0, 3.0, 1.0])), fwhm=6.0)
    ours = _apply(data, np.diag([3.0, 3.0, 3.0, 1.0]), fwhm_mm=6.0, brain_mask=False)
    np.testing.assert_allclose(ours, peer.get_fdata().transpose(3, 2, 1, 0), rtol=2e-3)


@pytest.mark.parametrize("matrix", [(7, 8, 9), (3, 4, 5), (14, 16, 18)])
def test_a_gradient_survives_any_matrix(matrix: tuple[int, int, int]) -> None:
    y = np.broadcast_to(np.arange(8)[:, None], (7, 8, 9))
    ramp = (100.0 + 10.0 * y)[..., None] * np.array([1.0, 2.0])
    slices = _apply(ramp.astype(np.float32), grid="matrix", matrix=matrix, brain_mask=False)
    rows = slices[0][matrix[2] // 2, :, matrix[0] // 2]
    centre = (np.arange(matrix[1]) + 0.5) * 8 / matrix[1] - 0.5
    middle = slice(1, -1) if matrix[1] > 4 else slice(0, 0)
    np.testing.assert_allclose(rows[middle], (100 + 10 * centre)[middle], rtol=0.03)
    assert (np.diff(rows) > -1e-6).all()


def test_a_fine_pattern_does_not_alias_on_a_coarse_grid() -> None:
    data = np.full((24, 24, 24, 2), 100.0, dtype=np.float32)
    data[::2] += 50.0
    data[..., 1] *= 2.0
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    slices = _apply(data, affine, grid="matrix", matrix=(8, 8, 8), brain_mask=False)
    np.testing.assert_allclose(slices[0][..., 1:-1], 125.0, atol=0.5)
    np.testing.assert_allclose(slices[1], 250.0, atol=8.0)


def test_the_common_grid_puts_the_brain_where_the_template_has_it() -> None:
    affine = tiny_affine()
    affine[:3, 3] = (300.0, -250.0, 77.0)
    data = tiny_data(11, seed=1, shape=(17, 18, 19))
    np.testing.assert_array_equal(
        _apply(data, affine, grid="common"),
        _apply(data, tiny_affine(), grid="common"),
    )
    grid = build_grid(
        Grid(shape=(7, 8, 9), affine=affine),
        np.ones((7, 8, 9), bool),
        _config(grid="common"),
        is_aligned=False,
    )
    brain_mm = affine[:3, :3] @ [3.0, 3.5, 4.0] + affine[:3, 3]
    template_mm = np.array([0.0, -18.0, 18.0])
    middle_mm = grid.affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2) + grid.affine[:3, 3]
    np.testing.assert_allclose(
        middle_mm - brain_mm, template_mm - np.array(MNI_BRAIN_CENTRE_MM), atol=1e-9
    )


def test_a_derivative_in_mni_space_is_not_moved() -> None:
    data = tiny_data(11, seed=1, shape=(17, 18, 19))
    config = _config(grid="common")
    aligned = Surroundings(is_aligned=True)
    stays = apply_recipe(_image(data), tr_s=TR_S, config=config, surroundings=aligned)
    assert not np.array_equal(stays, apply_recipe(_image(data), tr_s=TR_S, config=config))


def test_time_steps_equal_nilearn_and_leave_no_trend_and_no_slow_cosine() -> None:
    from nilearn.signal import clean

    rng = np.random.default_rng(8)
    time = np.arange(60)
    slow = 40 * np.cos(np.pi * (time + 0.5) / 60)
    data = rng.normal(500, 9, (7, 8, 9, 60)) + slow + 3.0 * time
    data = data.astype(np.float32)
    ours = _apply(
        data, brain_mask=False, detrend=True, high_pass_hz=0.02, standardization="zscore"
    )
    peer = clean(
        data.transpose(3, 2, 1, 0).reshape(60, -1),
        detrend=True,
        standardize="zscore_sample",
        filter="cosine",
        high_pass=0.02,
        t_r=TR_S,
    )
    np.testing.assert_allclose(ours.reshape(60, -1), peer, atol=4e-3)
    for regressor in (time - time.mean(), slow):
        share = regressor @ ours.reshape(60, -1) / np.linalg.norm(regressor)
        assert np.abs(share).max() < 0.05


def test_zscores_have_mean_zero_and_sd_one_and_percent_knows_the_mean() -> None:
    data = tiny_data(40, seed=3)
    z = _apply(data, standardization="zscore")
    inside = (z != 0).any(axis=0)
    np.testing.assert_allclose(z.mean(axis=0)[inside], 0.0, atol=2e-3)
    np.testing.assert_allclose(z.std(axis=0, ddof=1)[inside], 1.0, atol=2e-3)
    percent = _apply(data, standardization="percent", detrend=True)
    assert percent.std(axis=0)[inside].mean() == pytest.approx(100 * 10 / 1000, rel=0.05)


def test_volume_standardisation_is_blind_to_a_volumes_level_and_gain() -> None:
    data = tiny_data(12, seed=3).astype(np.float32)
    gain = np.linspace(0.5, 2.0, 12, dtype=np.float32)
    one = _apply(data, standardization="volume")
    two = _apply(data * gain + 7.0 * (data > 500), standardization="volume")
    inside = (one != 0).any(axis=0)
    np.testing.assert_allclose(one[:, inside].mean(axis=1), 0.0, atol=2e-3)
    np.testing.assert_allclose(one[:, inside].std(axis=1), 1.0, atol=2e-3)
    np.testing.assert_allclose(one, two, atol=0.02)


@pytest.mark.parametrize("standardization", ["zscore", "percent", "volume", "none"])
@pytest.mark.parametrize("detrend", [True, False])
def test_constant_and_not_finite_voxels_are_zero_and_harm_no_neighbour(
    standardization: str, detrend: bool
) -> None:
    data = tiny_data(12, seed=3).astype(np.float32)
    settings = {"standardization": standardization, "detrend": detrend}
    clean = _apply(data, **settings)
    data[3, 4, 4, 5] = np.nan
    data[3, 3, 4, 7] = np.inf
    data[4, 4, 4] = 900.0
    slices = _apply(data, **settings)
    assert np.isfinite(slices).all()
    assert not slices[:, 4, 4, 3].any()
    assert not slices[:, 4, 3, 3].any()
    if detrend or standardization in ("zscore", "percent"):
        assert not slices[:, 4, 4, 4].any()
    if standardization != "volume":
        np.testing.assert_array_equal(slices[:, 3, 3, 4], clean[:, 3, 3, 4])


def test_a_voxel_that_is_all_trend_is_zero_after_the_fit() -> None:
    data = tiny_data(12, seed=3).astype(np.float32)
    data[4, 4, 4] = 1000.0 + 5.0 * np.arange(12)
    assert not _apply(data, detrend=True, standardization="zscore")[:, 4, 4, 4].any()


def test_one_slice_works_on_its_own_grid(realdata: Any) -> None:
    from spectrum.data.images import read_bold

    folder = realdata / "bold" / "haxby2001-1slice" / "sub-001" / "func"
    image = read_bold(folder / "sub-001_task-objectviewing_run-01_bold.nii.gz")
    config = PreprocessingConfig(grid="native")
    slices = apply_recipe(image, tr_s=2.5, config=config)
    assert slices.shape == (121, 1, 20, 40)
    assert np.isfinite(slices).all()
    assert 0.3 < (slices != 0).any(axis=0).mean() < 0.9


def test_a_whole_head_lies_in_the_common_grid_with_a_brains_volume(realdata: Any) -> None:
    from spectrum.data.images import read_bold

    folder = realdata / "bold" / "studyforrest-oneback" / "sub-02" / "func"
    image = read_bold(folder / "sub-02_task-oneback_run-1_bold.nii.gz")
    slices = apply_recipe(image, tr_s=2.0, config=PreprocessingConfig())
    assert slices.shape == (78, 23, 27, 23)
    inside = (slices != 0).any(axis=0)
    litres = inside.sum() * 8.0**3 / 1e6
    assert 0.9 < litres < 1.9
    assert not inside[:, :, [0, -1]].any()
    assert not inside[:, [0, -1]].any()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"drop_initial_volumes": 11}, "too-short"),
        ({"drop_initial_volumes": 50}, "too-short"),
        ({"drop_initial_volumes": 10, "standardization": "zscore"}, "too-short"),
        ({"drop_initial_volumes": 9, "detrend": True}, "too-short"),
        ({"high_pass_hz": 0.1, "drop_initial_volumes": 9, "detrend": True}, "too-short"),
        ({"high_pass_hz": 0.1, "drop_initial_volumes": 8, "detrend": True}, None),
        ({"drop_initial_volumes": 10}, "too-short"),
        ({"drop_initial_volumes": 9}, None),
    ],
)
def test_a_run_too_short_for_its_time_steps_is_refused(
    settings: dict[str, Any], code: str | None
) -> None:
    data = tiny_data(11, seed=1)
    if code is None:
        assert len(_apply(data, **settings)) == 11 - settings["drop_initial_volumes"]
    else:
        assert _code(data, **settings) == code


def test_images_without_a_brain_or_without_a_signal_are_refused_by_name() -> None:
    assert _code(np.full((7, 8, 9, 11), 5.0, dtype=np.float32)) == "empty-mask"
    assert _code(np.full((7, 8, 9, 11), np.nan, dtype=np.float32)) == "not-finite"
    still = np.repeat(tiny_data(1, seed=1), 11, axis=3)
    assert _code(still, standardization="zscore") == "no-signal"
    one_bad_volume = tiny_data(11, seed=1).astype(np.float32)
    one_bad_volume[..., 4] = np.nan
    assert _code(one_bad_volume) == "not-finite"


def test_a_mask_of_another_shape_is_refused() -> None:
    known = Surroundings(brain_XYZ=np.ones((9, 8, 7), bool))
    with pytest.raises(ImageError, match=r"\(9, 8, 7\).*one grid"):
        apply_recipe(
            _image(tiny_data(11, seed=1)), tr_s=TR_S, config=_config(), surroundings=known
        )


@pytest.mark.parametrize("gain", [1e-6, 1.0, 300.0, 1e9])
def test_scanner_units_fit_float16_by_a_power_of_two(gain: float) -> None:
    data = tiny_data(11, seed=1).astype(np.float32) * np.float32(gain)
    result = convert_run(_image(data), tr_s=TR_S, config=_config(brain_mask=False))
    restored = result.slices_VSHW.astype(np.float64) * result.scale
    np.testing.assert_allclose(restored, data.transpose(3, 2, 1, 0), rtol=1e-3, atol=gain * 1e-2)
    assert np.isfinite(result.slices_VSHW).all()
    assert np.log2(result.scale) == round(np.log2(result.scale))
    assert (result.scale == 1.0) == (gain == 1.0)


def test_percent_that_float16_cannot_hold_is_refused() -> None:
    data = tiny_data(11, seed=1).astype(np.float32)
    data[3, 4, 4] = [8.0] * 10 + [3e6]
    data[3, 4, 4] -= data[3, 4, 4].mean() - 5.0
    assert _code(data, standardization="percent", brain_mask=False) == "not-float16"


def test_the_two_parts_are_the_whole_and_leave_their_input_alone() -> None:
    image = _image(tiny_data(40, seed=2))
    known = Surroundings(motion_V6=np.random.default_rng(1).normal(size=(40, 6)))
    config = PreprocessingConfig(voxel_mm=9.0, drop_initial_volumes=3, confounds="motion6")
    spatial = apply_spatial(image, config=config, surroundings=known)
    before = spatial.signals_VN.copy()
    for settings in ({}, {"fwhm_mm": 0.0, "standardization": "none"}, {"detrend": False}):
        other = config.model_copy(update=settings)
        rest = finish_recipe(spatial, tr_s=TR_S, config=other, surroundings=known)
        whole = convert_run(image, tr_s=TR_S, config=other, surroundings=known)
        np.testing.assert_array_equal(rest.slices_VSHW, whole.slices_VSHW)
        assert rest.scale == whole.scale
        np.testing.assert_array_equal(spatial.signals_VN, before)
    assert spatial.signals_VN.dtype == np.float32
    assert spatial.signals_VN.shape == (37, spatial.inside_XYZ.sum())


def test_what_follows_the_heads_motion_is_gone_after_the_fit() -> None:
    motion = np.random.default_rng(4).normal(size=(60, 6))
    data = tiny_data(60, seed=1).astype(np.float32)
    data *= 1.0 + 0.05 * motion[:, 0].astype(np.float32)
    known = Surroundings(motion_V6=motion)
    left = {}
    for confounds in ("none", "motion6", "motion24"):
        config = _config(confounds=confounds, standardization="percent")
        slices = apply_recipe(_image(data), tr_s=TR_S, config=config, surroundings=known)
        left[confounds] = slices.astype(np.float64).std()
    assert left["none"] > 3 * left["motion6"] > 3 * left["motion24"]


def test_confounds_of_another_length_are_refused_before_the_image_is_touched() -> None:
    known = Surroundings(motion_V6=np.zeros((12, 6)))
    broken = np.full((7, 8, 9, 11), np.nan, dtype=np.float32)
    with pytest.raises(ImageError, match="11 volumes and its confounds 12") as caught:
        apply_recipe(
            _image(broken), tr_s=TR_S, config=_config(confounds="motion6"), surroundings=known
        )
    assert caught.value.code == "bad-confounds"
    assert _code(broken, confounds="motion24") == "no-motion"


def test_a_spatial_part_of_no_volume_is_refused() -> None:
    with pytest.raises(ImageError, match="all of them are dropped") as caught:
        apply_spatial(_image(tiny_data(11, seed=1)), config=_config(drop_initial_volumes=11))
    assert caught.value.code == "too-short"
