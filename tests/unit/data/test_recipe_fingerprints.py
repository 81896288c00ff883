"""Fingerprints of recipes: each setting belongs to one step, and names what it decides."""

from __future__ import annotations

from typing import Any

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.recipe import (
    SPATIAL_STEPS,
    STEP_VERSIONS,
    prefix_fingerprints,
    recipe_fingerprint,
    recipe_prefixes,
    run_fingerprint,
)

TR_S = 2.0
PLAIN = {"grid": "native", "fwhm_mm": 0.0, "high_pass_hz": 0.0, "detrend": False}


def _config(**settings: Any) -> PreprocessingConfig:
    return PreprocessingConfig.model_validate({**PLAIN, **settings})


def test_every_setting_belongs_to_one_step_and_every_step_has_a_version() -> None:
    configs = [
        _config(),
        _config(grid="matrix", matrix=(3, 4, 5)),
        PreprocessingConfig(),
    ]
    seen = {key for c in configs for _, settings in recipe_prefixes(c) for key in settings}
    assert seen == set(PreprocessingConfig.model_fields)
    names = [name for name, _ in recipe_prefixes(configs[0])]
    assert {*names, "quality"} == set(STEP_VERSIONS)


CHANGES = {
    "drop_initial_volumes": 1,
    "voxel_mm": 9.0,
    "brain_mask": False,
    "fwhm_mm": 5.0,
    "confounds": "motion24",
    "global_signal": True,
    "tissue_signals": True,
    "compcor_components": 5,
    "detrend": False,
    "temporal_filter": "butterworth",
    "high_pass_hz": 0.01,
    "standardization": "none",
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_changed_setting_changes_its_step_and_the_later_ones_only(field: str) -> None:
    one, two = PreprocessingConfig(), PreprocessingConfig.model_validate({field: CHANGES[field]})
    before, after = (prefix_fingerprints("ab", TR_S, c) for c in (one, two))
    steps = [name for name, _ in recipe_prefixes(one)]
    first = next(i for i, s in enumerate(recipe_prefixes(one)) if field in s[1])
    assert [before[s] == after[s] for s in steps] == [i < first for i in range(len(steps))]
    assert recipe_fingerprint(one) != recipe_fingerprint(two)


def test_a_setting_that_is_not_read_changes_no_fingerprint() -> None:
    native = [PreprocessingConfig(grid="native", voxel_mm=v) for v in (8.0, 4.0)]
    assert recipe_fingerprint(native[0]) == recipe_fingerprint(native[1])


def test_a_runs_fingerprint_tells_image_tr_and_further_inputs_apart() -> None:
    config = PreprocessingConfig()
    prints = {
        run_fingerprint("ab", 2.0, config),
        run_fingerprint("cd", 2.0, config),
        run_fingerprint("ab", 2.5, config),
        run_fingerprint("ab", 2.0, config, {"mask_path": "ef"}),
        run_fingerprint("ab", 2.0, config, {"confounds_path": "ef"}),
    }
    assert len(prints) == 5
    assert run_fingerprint("ab", 2.0, config) == run_fingerprint("ab", 2.0, config, {})
    spatial = [prefix_fingerprints("ab", tr, config)["smoothing"] for tr in (2.0, 2.5)]
    assert spatial[0] == spatial[1]


def test_the_spatial_part_is_the_first_steps_and_reads_no_time_and_no_confounds() -> None:
    names = [name for name, _ in recipe_prefixes(PreprocessingConfig())]
    assert tuple(names[: len(SPATIAL_STEPS)]) == SPATIAL_STEPS
    rest = [
        PreprocessingConfig(fwhm_mm=0.0, standardization="percent"),
        PreprocessingConfig(confounds="motion24", temporal_filter="butterworth", low_pass_hz=0.1),
    ]
    made = {
        prefix_fingerprints("ab", tr_s, config, digests)[SPATIAL_STEPS[-1]]
        for config in rest
        for tr_s in (2.0, 2.5)
        for digests in ({"mask_path": "ef"}, {"mask_path": "ef", "confounds_path": "gh"})
    }
    assert len(made) == 1
    other = prefix_fingerprints("ab", 2.0, rest[0], {"mask_path": "xy"})[SPATIAL_STEPS[-1]]
    assert other not in made


def test_a_table_of_confounds_enters_with_the_temporal_step() -> None:
    config = PreprocessingConfig(global_signal=True)
    one, two = (
        prefix_fingerprints("ab", 2.0, config, {"confounds_path": digest}) for digest in "ef"
    )
    assert one["smoothing"] == two["smoothing"]
    assert one["temporal"] != two["temporal"]
    assert one["standardization"] != two["standardization"]
