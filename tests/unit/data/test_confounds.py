"""Confounds: 24 of motion as fMRIPrep has them, tables through nilearn, refusals by code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import PreprocessingConfig
from spectrum.data.confounds import (
    MOTION_NAMES,
    Confounds,
    build_regressors,
    expand_motion,
    read_confounds,
)
from spectrum.data.quality import MAX_TABLE_BYTES
from spectrum.errors import DataError, ImageError, SidecarError

NUM_VOLUMES = 17


def columns(seed: int = 0) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    names = (*MOTION_NAMES, "global_signal", "csf", "white_matter", "cosine00", "cosine01")
    components = tuple(f"a_comp_cor_{k:02d}" for k in range(5))
    return {name: rng.normal(3, 1, NUM_VOLUMES).tolist() for name in (*names, *components)}


def write_table(path: Path, found: dict[str, list[Any]]) -> Path:
    rows = [
        "\t".join(found),
        *("\t".join(map(str, row)) for row in zip(*found.values(), strict=True)),
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    masks = ["combined"] * 3 + ["CSF", "WM"]
    meta = {f"a_comp_cor_{k:02d}": {"Mask": mask} for k, mask in enumerate(masks)}
    path.with_suffix(".json").write_text(json.dumps(meta), encoding="utf-8")
    return path


def read(path: Path, **settings: Any) -> Confounds:
    config = PreprocessingConfig.model_validate(settings)
    return read_confounds(path, path.with_suffix(".json"), config, NUM_VOLUMES)


def code_of(path: Path, **settings: Any) -> str:
    with pytest.raises(SidecarError) as caught:
        read(path, **settings)
    assert caught.value.path == str(path)
    return caught.value.code


def test_24_regressors_of_motion_are_those_of_nilearn(tmp_path: Path) -> None:
    from nilearn.interfaces.fmriprep import load_confounds

    found = columns()
    motion = np.array([found[name] for name in MOTION_NAMES]).T
    change = np.vstack([np.full((1, 6), np.nan), np.diff(motion, axis=0)])
    for index, name in enumerate(MOTION_NAMES):
        for suffix, values in {
            "derivative1": change,
            "power2": motion**2,
            "derivative1_power2": change**2,
        }.items():
            texts = [repr(float(v)) if np.isfinite(v) else "n/a" for v in values[:, index]]
            found[f"{name}_{suffix}"] = texts  # type: ignore[assignment]
    stem = "sub-01_task-x"
    write_table(tmp_path / f"{stem}_desc-confounds_timeseries.tsv", found)
    frame, _ = load_confounds(
        str(tmp_path / f"{stem}_desc-preproc_bold.nii.gz"), strategy=("motion",), demean=False
    )
    suffixes = ("", "_derivative1", "_power2", "_derivative1_power2")
    order = [name + suffix for suffix in suffixes for name in MOTION_NAMES]
    np.testing.assert_allclose(expand_motion(motion), frame[order].to_numpy(), rtol=1e-12)


@given(st.integers(1, 9))
def test_the_first_volume_takes_the_change_of_the_second(num_volumes: int) -> None:
    motion = np.random.default_rng(num_volumes).normal(size=(num_volumes, 6))
    regressors = expand_motion(motion)
    assert regressors.shape == (num_volumes, 24)
    assert np.isfinite(regressors).all()
    if num_volumes > 1:
        np.testing.assert_array_equal(regressors[0, 6:12], motion[1] - motion[0])
        np.testing.assert_array_equal(regressors[0, 6:12], regressors[1, 6:12])


def test_changes_are_taken_before_volumes_are_dropped() -> None:
    motion = np.random.default_rng(1).normal(size=(NUM_VOLUMES, 6))
    config = PreprocessingConfig(confounds="motion24", drop_initial_volumes=4)
    found = build_regressors(config, motion_V6=motion)
    assert found is not None
    np.testing.assert_array_equal(found, expand_motion(motion)[4:])


def test_a_recipe_without_confounds_has_no_regressors() -> None:
    motion = np.zeros((NUM_VOLUMES, 6))
    assert build_regressors(PreprocessingConfig(), motion_V6=motion) is None


def test_the_recipes_own_motion_goes_before_the_tables(tmp_path: Path) -> None:
    table = read(write_table(tmp_path / "c.tsv", columns()), confounds="motion6")
    own = np.ones((NUM_VOLUMES, 6))
    config = PreprocessingConfig(confounds="motion6")
    of_table = build_regressors(config, confounds=table)
    of_own = build_regressors(config, motion_V6=own, confounds=table)
    np.testing.assert_array_equal(of_own, own)
    np.testing.assert_allclose(of_table, np.array([columns()[n] for n in MOTION_NAMES]).T)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"global_signal": True}, ["global_signal"]),
        ({"tissue_signals": True}, ["csf", "white_matter"]),
        (
            {"compcor_components": 2},
            ["a_comp_cor_00", "a_comp_cor_01", "cosine00", "cosine01"],
        ),
        (
            {"compcor_components": 9, "global_signal": True},
            [*(f"a_comp_cor_0{k}" for k in range(3)), "cosine00", "cosine01", "global_signal"],
        ),
    ],
)
def test_each_switch_takes_its_columns(
    tmp_path: Path, settings: dict[str, Any], names: list[str]
) -> None:
    table = write_table(tmp_path / "any name.tsv", columns())
    found = read(table, **settings)
    assert found.motion_V6 is None
    np.testing.assert_allclose(found.other_VK, np.array([columns()[name] for name in names]).T)
    regressors = build_regressors(PreprocessingConfig.model_validate(settings), confounds=found)
    np.testing.assert_array_equal(regressors, found.other_VK)


@pytest.mark.parametrize(
    ("absent", "settings", "code"),
    [
        ("rot_y", {"confounds": "motion6"}, "no-motion"),
        ("global_signal", {"global_signal": True}, "missing-confounds"),
        ("csf", {"tissue_signals": True}, "missing-confounds"),
        ("a_comp_cor_01", {"compcor_components": 3}, "missing-confounds"),
    ],
)
def test_a_missing_column_is_refused_by_code_and_path(
    tmp_path: Path, absent: str, settings: dict[str, Any], code: str
) -> None:
    found = columns()
    del found[absent]
    assert code_of(write_table(tmp_path / "c.tsv", found), **settings) == code


def test_components_without_their_sidecar_are_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "c.tsv", columns())
    config = PreprocessingConfig(compcor_components=3)
    with pytest.raises(SidecarError) as caught:
        read_confounds(table, None, config, NUM_VOLUMES)
    assert caught.value.code == "missing-confounds"


@pytest.mark.parametrize("text", ["", "\n", "1\t2\n3\t4\n", "\x00\x01", "TransX\tRotY\n1\t2\n"])
def test_a_file_that_is_no_table_is_refused_by_code(tmp_path: Path, text: str) -> None:
    table = tmp_path / "c.tsv"
    table.write_text(text, encoding="utf-8")
    table.with_suffix(".json").write_text("{}", encoding="utf-8")
    assert code_of(table, confounds="motion6") in ("bad-confounds", "no-motion")


def test_a_table_of_another_length_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "c.tsv", columns())
    config = PreprocessingConfig(confounds="motion6")
    with pytest.raises(SidecarError, match="17 rows, and the run 18") as caught:
        read_confounds(table, None, config, 18)
    assert caught.value.code == "bad-confounds"


def test_a_table_of_senseless_size_is_refused_unread(tmp_path: Path) -> None:
    table = write_table(tmp_path / "c.tsv", columns())
    with table.open("r+b") as file:
        file.truncate(MAX_TABLE_BYTES + 1)
    assert code_of(table, confounds="motion6") == "bad-confounds"


def test_unsteady_volumes_must_be_dropped_where_components_are_used(tmp_path: Path) -> None:
    found = columns()
    for volume in range(2):
        found[f"non_steady_state_outlier0{volume}"] = np.eye(NUM_VOLUMES)[volume].tolist()
    table = read(write_table(tmp_path / "c.tsv", found), global_signal=True)
    assert table.num_unsteady == 2
    with pytest.raises(ImageError, match=r"first 2 volumes.*drop_initial_volumes: 2") as caught:
        build_regressors(PreprocessingConfig(global_signal=True), confounds=table)
    assert caught.value.code == "unsteady-volumes"
    config = PreprocessingConfig(global_signal=True, drop_initial_volumes=2)
    regressors = build_regressors(config, confounds=table)
    assert regressors is not None
    assert len(regressors) == NUM_VOLUMES - 2


def _built(motion: Any = None, **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        build_regressors(PreprocessingConfig.model_validate(settings), motion_V6=motion)
    return caught.value.code


def test_a_run_without_what_the_recipe_asks_for_is_refused_by_code() -> None:
    for confounds in ("motion6", "motion24"):
        assert _built(confounds=confounds) == "no-motion"
    assert _built(global_signal=True) == "no-confounds"
    broken = np.zeros((NUM_VOLUMES, 6))
    broken[5, 2] = np.nan
    assert _built(broken, confounds="motion24") == "bad-confounds"
