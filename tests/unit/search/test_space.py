"""Search spaces: names, types, conditions, and that every point is a configuration."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from spectrum.config import TrialConfig, get_path, write_yaml
from spectrum.errors import ConfigError
from spectrum.search.forbidden import matches
from spectrum.search.optuna_study import sample_points
from spectrum.search.space import SearchSpace, read_space, read_space_file, space_from_mapping
from spectrum.search.validity import MAX_COMBINATIONS

SHIPPED = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


def space_of(parameters: dict[str, Any], **rest: Any) -> SearchSpace:
    return space_from_mapping({"name": "t", "parameters": parameters, **rest})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_200_points_of_every_shipped_space_are_configurations_none_of_them_forbidden(
    path: Path,
) -> None:
    space = read_space(path)
    space.check()
    for point in sample_points(space, 200, seed=11):
        config = space.config(point)
        assert isinstance(config, TrialConfig)
        for name, value in point.items():
            assert space.parameters[name].contains(value)
            assert get_path(config, name) == value
        for forbidden in space.forbid:
            assert not matches(forbidden, lambda name, c=config: get_path(c, name))


def test_all_six_spaces_are_shipped() -> None:
    names = ["architecture", "joint", "large", "original", "preprocessing", "quickstart"]
    assert [p.stem for p in SHIPPED] == names


def test_the_original_setting_says_that_it_is_unmasked() -> None:
    original = next(path for path in SHIPPED if path.stem == "original")
    default = read_space(original).default_config
    assert default.preprocessing.warnings
    assert default.target == "stage"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_space_that_includes_others_agrees_with_itself(path: Path) -> None:
    assert read_space_file(path).notes == ()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_default_point_of_a_shipped_space_is_its_base(path: Path) -> None:
    space = read_space(path)
    assert space.config(space.default_point) == space.default_config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_head_of_a_shipped_space_names_command_hardware_hours_and_result(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Command:", "Hardware:", "Expected:", "Result:"):
        assert any(line.startswith(f"# {word}") for line in head)
    assert f"search_spaces/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_filter_of_a_shipped_space_is_searched_at_every_high_pass(path: Path) -> None:
    space = read_space(path)
    cut_off, kind = "preprocessing.high_pass_hz", "preprocessing.temporal_filter"
    if kind not in space.parameters:
        return
    values = [value for value in space.parameters[cut_off].values or () if value > 0.0]
    assert values
    for value in values:
        assert space.point_from({cut_off: value, kind: "butterworth"})[kind] == "butterworth"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_space_reads_back_from_its_own_json(path: Path) -> None:
    space = read_space(path)
    plain = json.loads(json.dumps(space.model_dump(mode="json")))
    assert space_from_mapping(plain) == space


def test_an_unknown_name_is_refused_with_the_nearest_path() -> None:
    with pytest.raises(ConfigError, match=r"model\.embed_dims is no.*nearest.*model\.embed_dim\."):
        space_of({"model.embed_dims": {"choice": [32, 64]}})
    with pytest.raises(ConfigError, match=r"optimizer\.rate is no config path"):
        space_of({"model.depth": {"int": [1, 2], "when": {"optimizer.rate": 1}}})
    with pytest.raises(ConfigError, match=r"preprocessing\.fwhm is no config path"):
        space_of({}, base={"preprocessing": {"fwhm": 4}}).check()


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ({}, "has 0 of choice"),
        ({"choice": [1], "int": [1, 2]}, "has 2 of choice"),
        ({"int": [3, 1]}, "empty or not positive"),
        ({"log_uniform": [0, 1]}, "empty or not positive"),
        ({"int": [1, 6], "step": 2}, "step 2 does not lead from 1 to 6"),
        ({"choice": [1, 2], "step": 1}, "step goes with int or uniform only"),
        ({"choice": [2, 2]}, "repeat one"),
        ({"int": [0, 3]}, "greater than or equal to 1"),
        ({"choice": [1, "many"]}, "cannot be 'many'"),
    ],
)
def test_a_wrong_parameter_is_refused_in_one_sentence(
    parameter: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        space_of({"model.depth": parameter})


def test_widths_that_heads_do_not_divide_are_refused_by_name_before_any_trial() -> None:
    space = space_of(
        {"model.embed_dim": {"choice": [64, 60]}, "model.num_heads": {"int": [4, 8]}},
        base={"model": {"embed_dim": 64, "num_heads": 4}},
    )
    with pytest.raises(ConfigError, match=r"model\.num_heads = 5") as caught:
        space.check()
    assert "the width must be a multiple of the heads" in str(caught.value)


def test_a_triple_of_choices_that_do_not_go_together_is_found() -> None:
    space = space_of(
        {
            "preprocessing.grid": {"choice": ["common", "matrix"]},
            "preprocessing.matrix": {"choice": [None, [9, 10, 11]]},
        }
    )
    with pytest.raises(ConfigError, match=r"preprocessing\.matrix"):
        space.check()


def test_a_condition_parts_what_does_not_go_together() -> None:
    space = space_of(
        {
            "preprocessing.grid": {"choice": ["common", "matrix"]},
            "preprocessing.matrix": {
                "choice": [[7, 8, 9], [9, 10, 11]],
                "when": {"preprocessing.grid": "matrix"},
            },
        }
    )
    space.check()
    points = sample_points(space, 30, seed=2)
    for point in points:
        is_matrix = point["preprocessing.grid"] == "matrix"
        assert ("preprocessing.matrix" in point) == is_matrix
        assert (space.config(point).preprocessing.matrix is not None) == is_matrix
    assert {p.get("preprocessing.matrix") for p in points} == {None, (7, 8, 9), (9, 10, 11)}


def test_a_condition_may_name_several_values_and_a_path_that_is_not_searched() -> None:
    space = space_of(
        {
            "model.depth": {"int": [1, 3]},
            "model.drop_rate": {"choice": [0.0, 0.2], "when": {"model.depth": [2, 3]}},
            "model.mlp_ratio": {"choice": [2.0, 4.0], "when": {"model.backbone": "other"}},
        }
    )
    for point in sample_points(space, 20):
        assert ("model.drop_rate" in point) == (point["model.depth"] >= 2)
        assert "model.mlp_ratio" not in point


def test_a_condition_on_what_stands_below_is_refused() -> None:
    space = space_of(
        {
            "model.drop_rate": {"choice": [0.0, 0.2], "when": {"model.depth": 2}},
            "model.depth": {"int": [1, 3]},
        }
    )
    with pytest.raises(ConfigError, match=r"Move model\.depth above model\.drop_rate"):
        space.check()


def test_a_continuous_recipe_is_refused_and_a_stepped_one_is_not() -> None:
    base = {"preprocessing": {"fwhm_mm": 4.0}}
    with pytest.raises(ConfigError, match="no two trials could share their shards"):
        space_of({"preprocessing.fwhm_mm": {"uniform": [0, 8]}}, base=base).check()
    stepped = space_of({"preprocessing.fwhm_mm": {"uniform": [0, 8], "step": 4}}, base=base)
    stepped.check()
    assert {p["preprocessing.fwhm_mm"] for p in sample_points(stepped, 20)} == {0.0, 4.0, 8.0}


def test_a_default_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"preprocessing\.fwhm_mm is 6\.0 in the default"):
        space_of({"preprocessing.fwhm_mm": {"choice": [0, 4]}}).check()


@pytest.mark.parametrize("path", ["target", "folds.scheme", "seed"])
def test_what_would_make_scores_incomparable_cannot_be_searched(path: str) -> None:
    values = {"target": ["stage", "early_late"], "folds.scheme": ["leave-one-subject-out"]}
    with pytest.raises(ConfigError, match=f"{path} cannot be searched"):
        space_of({path: {"choice": values.get(path, [1, 2])}}).check()


def test_a_setting_fixes_a_searched_path_and_changes_the_study(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    parameters = {"model.depth": {"int": [1, 3]}, "model.slice_depth": {"int": [0, 2]}}
    file.write_text(write_yaml({"name": "s", "parameters": parameters}))
    space = read_space(file, ["model.depth=3", "study.seed=9", "training.num_epochs=5"])
    assert list(space.parameters) == ["model.slice_depth"]
    assert space.default_config.model.depth == 3
    assert space.default_config.training.num_epochs == 5
    assert space.study.seed == 9
    with pytest.raises(ConfigError, match=r"nearest known one is study\.num_trials"):
        read_space(file, ["study.num_trial=3"])


def test_choices_take_the_type_of_their_field() -> None:
    space = space_of({"preprocessing.fwhm_mm": {"choice": [0, 6]}})
    assert [type(v) for v in space.parameters["preprocessing.fwhm_mm"].choice or ()] == [float] * 2


def test_numbers_that_yaml_reads_as_words_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("name: s\nparameters:\n  optimizer.lr: {log_uniform: [1e-5, 1e-2]}\n")
    assert read_space(file).parameters["optimizer.lr"].ends == (1e-5, 1e-2)


def test_a_space_too_large_to_try_whole_is_checked_by_pairs() -> None:
    depths = ("depth", "slice_depth", "temporal_depth", "patch_size")
    values = {name: [4, 8, 12, 16] for name in depths}
    values |= {"embed_dim": [16, 24, 48, 64], "num_heads": [4, 8, 12, 16]}
    assert math.prod(len(choice) for choice in values.values()) > MAX_COMBINATIONS
    base = dict.fromkeys(values, 4) | {"embed_dim": 16, "attention_heads": 4}
    parameters = {f"model.{name}": {"choice": choice} for name, choice in values.items()}
    with pytest.raises(ConfigError, match=r"model\.embed_dim is 16 and model\.num_heads 12"):
        space_of(parameters, base={"model": base}).check()
