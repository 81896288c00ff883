"""Quality numbers against planted truth and against the published formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spectrum.data.quality import (
    RUN_QUALITY_NAMES,
    VOLUME_QUALITY_NAMES,
    measure_quality,
    otsu_threshold,
    read_displacement,
)
from spectrum.errors import SidecarError

VOXEL_MM = (3.0, 3.5, 4.0)


def _head(shape: tuple[int, int, int] = (21, 23, 9)) -> NDArray[np.bool_]:
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    return np.asarray((x**2 + y**2 < 0.3) & (np.abs(z) < 2))


def _planted(
    num_volumes: int = 200, *, level: float = 1000.0, sd: float = 20.0, air: float = 50.0
) -> NDArray[np.float32]:
    rng = np.random.default_rng(4)
    head = _head()
    noise = rng.normal(size=(*head.shape, num_volumes)) * np.where(head, sd, 1.0)[..., None]
    return np.asfortranarray((np.where(head, level, air)[..., None] + noise), dtype=np.float32)


def test_planted_levels_noise_and_geometry_come_back() -> None:
    quality = measure_quality(_planted(), VOXEL_MM)
    run = quality.run
    assert tuple(run) == RUN_QUALITY_NAMES
    assert tuple(quality.volume) == VOLUME_QUALITY_NAMES
    assert (run["num_slices"], run["num_volumes"]) == (9, 200)
    assert (run["voxel_x_mm"], run["voxel_y_mm"], run["voxel_z_mm"]) == VOXEL_MM
    assert run["fg_mean"] == pytest.approx(1000.0, abs=1.0)
    assert run["bg_mean"] == pytest.approx(50.0, abs=0.5)
    assert run["tsnr"] == pytest.approx(1000 / 20, rel=0.03)
    assert run["dvars_mean"] == pytest.approx(100 * math.sqrt(2) * 20 / 1000, rel=0.02)
    np.testing.assert_allclose(quality.volume["fg_mean"], 1000.0, atol=5.0)
    assert np.isnan(quality.volume["dvars"][0])
    assert np.isfinite(quality.volume["dvars"][1:]).all()


def test_a_jump_of_the_head_shows_in_dvars_of_that_volume_alone() -> None:
    data = _planted(11, sd=5.0)
    data[..., 6:] += 100.0
    dvars = measure_quality(data, VOXEL_MM).volume["dvars"]
    assert int(np.nanargmax(dvars)) == 6
    assert dvars[6] > 8 * np.nanmedian(dvars)


def test_numbers_scale_as_their_units_say() -> None:
    one = measure_quality(_planted(31), VOXEL_MM).run
    ten = measure_quality(_planted(31) * 10.0, VOXEL_MM).run
    for name in ("fg_mean", "fg_sd", "bg_mean", "bg_sd"):
        assert ten[name] == pytest.approx(10.0 * (one[name] or 0.0), rel=1e-4)
    for name in ("efc", "gsr", "tsnr", "dvars_mean"):
        assert ten[name] == pytest.approx(one[name], rel=1e-4)


def test_entropy_focus_is_that_of_atkinson_over_its_maximum() -> None:
    mean = np.abs(np.random.default_rng(1).normal(size=(5, 6, 7))) + 0.1
    found = measure_quality(np.repeat(mean[..., None], 3, axis=3), VOXEL_MM).run["efc"]
    share = mean.ravel() / np.sqrt((mean**2).sum())
    n = mean.size
    assert found == pytest.approx(
        (share * np.log(share)).sum() / (n / math.sqrt(n) * math.log(1 / math.sqrt(n)))
    )


def test_entropy_focus_is_one_for_a_flat_image_and_small_for_a_point() -> None:
    flat = np.full((5, 6, 7, 3), 9.0)
    point = np.zeros((5, 6, 7, 3))
    point[2, 3, 4] = 9.0
    assert measure_quality(flat, VOXEL_MM).run["efc"] == pytest.approx(1.0)
    assert measure_quality(point, VOXEL_MM).run["efc"] == pytest.approx(0.0, abs=1e-9)


def test_a_ghost_half_a_field_of_view_away_is_found_along_the_second_axis() -> None:
    head = _head()
    ghost = np.roll(head, head.shape[1] // 2, axis=1) & ~head
    mean = np.where(head, 1000.0, 10.0) + 50.0 * ghost
    found = measure_quality(np.repeat(mean[..., None], 2, axis=3), VOXEL_MM).run["gsr"]
    assert found == pytest.approx(0.05, abs=1e-6)
    other = np.roll(head, head.shape[0] // 2, axis=0) & ~head & ~ghost
    sideways = np.where(head, 1000.0, 10.0) + 50.0 * other
    found = measure_quality(np.repeat(sideways[..., None], 2, axis=3), VOXEL_MM).run["gsr"]
    assert found is not None
    assert found < 0.0


def test_displacement_is_known_only_from_confounds() -> None:
    fd = np.array([np.nan, 0.1, 0.3, 0.2])
    with_table = measure_quality(_planted(4), VOXEL_MM, fd)
    assert with_table.run["fd_mean"] == pytest.approx(0.2)
    np.testing.assert_array_equal(with_table.volume["fd"], fd)
    without = measure_quality(_planted(4), VOXEL_MM)
    assert without.run["fd_mean"] is None
    assert np.isnan(without.volume["fd"]).all()


@pytest.mark.parametrize("shape", [(7, 8, 1, 1), (7, 8, 9, 1), (1, 1, 1, 4), (2, 2, 2, 2)])
@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_images_without_contrast_give_none_and_no_warning(
    shape: tuple[int, ...], value: float
) -> None:
    quality = measure_quality(np.full(shape, value, dtype=np.float32), VOXEL_MM)
    assert quality.run["tsnr"] is None
    assert quality.run["gsr"] is None
    assert all(v is None or math.isfinite(v) for v in quality.run.values())
    assert all(len(v) == shape[3] for v in quality.volume.values())


def test_integers_and_floats_give_the_same_numbers() -> None:
    data = _planted(12).astype(np.int16)
    assert (
        measure_quality(data, VOXEL_MM).run
        == measure_quality(data.astype(np.float32), VOXEL_MM).run
    )


def test_otsu_parts_two_far_classes_and_leaves_equal_values_below() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(10, 2, 900), rng.normal(200, 9, 100)])
    assert 20 < otsu_threshold(values) < 170
    assert not (np.full(7, 4.0) > otsu_threshold(np.full(7, 4.0))).any()


def test_a_confounds_table_is_read_by_its_column(tmp_path: Path) -> None:
    path = tmp_path / "confounds.tsv"
    path.write_text("csf\tframewise_displacement\n1\tn/a\n2\t0.25\n3\t0.5\n", encoding="utf-8")
    np.testing.assert_array_equal(read_displacement(path, 3), [np.nan, 0.25, 0.5])
    path.write_text("csf\n1\n2\n3\n", encoding="utf-8")
    assert read_displacement(path, 3) is None


@pytest.mark.parametrize("text", ["", "framewise_displacement\n0.1\n", "a\tb\n1\t2\n"])
def test_a_confounds_table_of_another_run_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "confounds.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SidecarError, match="Expected 3 tab-separated rows") as caught:
        read_displacement(path, 3)
    assert caught.value.code == "bad-confounds"


def test_a_confounds_table_with_words_for_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "confounds.tsv"
    path.write_text("framewise_displacement\n0,1\n", encoding="utf-8")
    with pytest.raises(SidecarError, match="0,1"):
        read_displacement(path, 1)
