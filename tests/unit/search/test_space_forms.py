"""Ordered choices, fixed and derived values, forbidden combinations, frozen parameters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import get_path, write_yaml
from spectrum.errors import ConfigError
from spectrum.search.forbidden import matches
from spectrum.search.optuna_study import TrialJournal, sample_points
from spectrum.search.parameters import Parameter
from spectrum.search.space import SearchSpace, read_space_file, space_from_mapping
from spectrum.search.validity import moved_share

HEADS = {"model.embed_dim": {"ordered": [24, 32, 64]}, "model.num_heads": {"ordered": [2, 3, 4]}}
ODD_HEADS = [{"model.embed_dim": [32, 64], "model.num_heads": 3}]


def space_of(parameters: dict[str, Any], **rest: Any) -> SearchSpace:
    return space_from_mapping({"name": "t", "parameters": parameters, **rest})


class ListTrial:
    """Answers with given numbers, and keeps what it was asked."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers, self.asked = list(answers), []

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked.append((name, list(choices)))
        return choices[self.answers.pop(0)]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        self.asked.append((name, low, high, step))
        return self.answers.pop(0)

    def suggest_float(self, name: str, low: float, high: float, **kind: Any) -> float:
        self.asked.append((name, low, high))
        return self.answers.pop(0)


def test_a_sampler_sees_the_places_of_an_ordered_choice_and_the_point_its_values() -> None:
    space = space_of({"preprocessing.fwhm_mm": {"ordered": [0, 6, 10]}})
    trial = ListTrial([2])
    assert space.point(trial) == {"preprocessing.fwhm_mm": 10.0}
    assert trial.asked == [("preprocessing.fwhm_mm", 0, 2, 1)]


def test_an_ordered_default_runs_first_though_the_journal_holds_places(tmp_path: Path) -> None:
    space = space_of({"preprocessing.fwhm_mm": {"ordered": [0, 6, 10]}})
    journal = TrialJournal(tmp_path / "j", space)
    assert journal.ask().point == {"preprocessing.fwhm_mm": 6.0}


def test_an_order_without_the_value_says_so() -> None:
    with pytest.raises(ConfigError, match=r"7 is none of \{2 < 4\}"):
        Parameter(ordered=(2, 4)).encode(7)


def test_lists_may_be_ordered() -> None:
    matrices = [[5, 6, 7], [9, 10, 11]]
    space = space_of(
        {"preprocessing.matrix": {"ordered": matrices}},
        base={"preprocessing": {"grid": "matrix", "matrix": [5, 6, 7]}},
    )
    space.check()
    drawn = {point["preprocessing.matrix"] for point in sample_points(space, 20)}
    assert drawn == {(5, 6, 7), (9, 10, 11)}


def test_a_fixed_value_is_in_every_configuration_and_not_searched() -> None:
    space = space_of({"model.depth": {"fixed": 3}, "model.slice_depth": {"int": [0, 2]}})
    assert list(space.parameters) == ["model.slice_depth"]
    assert space.default_config.model.depth == 3
    with pytest.raises(ConfigError, match=r"has fixed and when"):
        space_of({"model.depth": {"fixed": 3, "when": {"model.slice_depth": 1}}})
    with pytest.raises(ConfigError, match=r"model\.depth cannot be 'deep'"):
        space_of({"model.depth": {"fixed": "deep"}})


def test_a_multiple_follows_its_source_and_whole_fields_round_halves_up() -> None:
    space = space_of(
        {"sequences.num_volumes": {"choice": [4, 5, 8]}},
        derive={"sequences.stride": {"times": "sequences.num_volumes", "by": 0.5}},
    )
    space.check()
    strides = {
        (config.sequences.num_volumes, config.sequences.stride)
        for config in map(space.config, sample_points(space, 30))
    }
    assert strides == {(4, 2), (5, 3), (8, 4)}
    assert space.default_config.sequences.stride == 4


def test_a_table_and_an_equal_follow_each_other_and_derived_values_are_not_in_the_point() -> None:
    space = space_of(
        {"model.embed_dim": {"choice": [32, 48]}},
        derive={
            "model.num_heads": {"lookup": "model.embed_dim", "values": {32: 4, 48: 6}},
            "model.attention_heads": {"equals": "model.num_heads"},
        },
    )
    space.check()
    for point in sample_points(space, 10):
        model = space.config(point).model
        assert list(point) == ["model.embed_dim"]
        assert (model.embed_dim, model.num_heads) in {(32, 4), (48, 6)}
        assert model.attention_heads == model.num_heads
    plain = json.loads(json.dumps(space.model_dump(mode="json")))
    assert space_from_mapping(plain) == space


def test_what_follows_from_the_base_follows_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    derive = {"sequences.stride": {"equals": "sequences.num_volumes"}}
    file.write_text(write_yaml({"name": "s", "derive": derive}))
    space = read_space_file(file, ["sequences.num_volumes=12"]).space
    assert space.default_config.sequences.stride == 12
    space = read_space_file(file, ["sequences.stride=5"]).space
    assert (space.default_config.sequences.stride, space.derive) == (5, {})


@pytest.mark.parametrize(
    ("derive", "message"),
    [
        ({"model.depth": {"equals": "model.deptj"}}, r"model\.deptj is no config path"),
        ({"model.depth": {}}, "has 0 of equals, times and lookup"),
        ({"model.depth": {"times": "model.slice_depth"}}, "by goes with times"),
        ({"model.depth": {"lookup": "model.embed_dim"}}, "values goes with lookup"),
        (
            {"model.depth": {"times": "model.patch_pooling", "by": 2}},
            "no number that could be multiplied",
        ),
        (
            {"model.num_heads": {"lookup": "model.embed_dim", "values": {64: 4}}},
            "can be 32, and the lookup has values for 64 only",
        ),
        ({"model.embed_dim": {"equals": "model.depth"}}, "is both searched and derived"),
        (
            {
                "model.depth": {"equals": "model.slice_depth"},
                "model.slice_depth": {"equals": "model.num_heads"},
            },
            r"Move model\.slice_depth above model\.depth",
        ),
        ({"seed": {"equals": "model.depth"}}, "seed cannot be searched"),
        (
            {"preprocessing.fwhm_mm": {"times": "optimizer.lr", "by": 1000}},
            r"derived from optimizer\.lr, which is continuous",
        ),
        (
            {"model.depth": {"lookup": "model.embed_dim", "values": {32: 1, 64: 0}}},
            r"model\.depth cannot be 0",
        ),
    ],
)
def test_a_wrong_derivation_is_refused_in_one_sentence(
    derive: dict[str, Any], message: str
) -> None:
    parameters = {
        "model.embed_dim": {"choice": [32, 64]},
        "optimizer.lr": {"log_uniform": [1e-4, 1e-2]},
    }
    with pytest.raises(ConfigError, match=message):
        space_of(parameters, derive=derive).check()


def test_a_derived_value_that_is_no_configuration_for_one_choice_is_found() -> None:
    derive = {"model.num_heads": {"times": "model.depth", "by": 1}}
    with pytest.raises(ConfigError, match=r"model\.embed_dim is 32 and model\.num_heads 3"):
        space_of({"model.depth": {"choice": [1, 3]}}, derive=derive).check()


def test_no_proposal_has_a_forbidden_combination_and_every_allowed_one_is_proposed() -> None:
    space = space_of(HEADS, forbid=ODD_HEADS)
    space.check()
    points = {
        (point["model.embed_dim"], point["model.num_heads"])
        for point in sample_points(space, 200, seed=3)
    }
    assert points == {(24, 2), (24, 3), (24, 4), (32, 2), (32, 4), (64, 2), (64, 4)}
    assert moved_share(space) == pytest.approx(2 / 9, abs=0.04)


def test_the_journal_keeps_every_draw_as_one_trial_with_the_point_that_runs(
    tmp_path: Path,
) -> None:
    space = space_of(HEADS, forbid=ODD_HEADS, study={"sampler": "random"})
    journal = TrialJournal(tmp_path / "j", space)
    points = [journal.ask().point for _ in range(30)]
    assert journal.num_proposed == 30
    assert not any(p["model.embed_dim"] != 24 and p["model.num_heads"] == 3 for p in points)
    again = TrialJournal(tmp_path / "j", space)
    assert [again.ask_again(number).point for number in range(30)] == points


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True), st.integers(0, 4))
def test_an_allowed_value_stands_for_itself_and_another_for_the_nearest(
    places: list[int], drawn: int
) -> None:
    values = (1, 2, 4, 8, 16)
    allowed = [values[place] for place in sorted(places)]
    chosen = Parameter(ordered=values).nearest(values[drawn], allowed)
    assert chosen in allowed
    steps = {value: abs(values.index(value) - drawn) for value in allowed}
    assert steps[chosen] == min(steps.values())
    following = Parameter(choice=values).nearest(values[drawn], allowed)
    behind = [(values.index(value) - drawn) % 5 for value in allowed]
    assert (values.index(following) - drawn) % 5 == min(behind)


@given(st.data())
def test_whatever_is_drawn_a_space_that_passes_its_check_proposes_nothing_forbidden(
    data: st.DataObject,
) -> None:
    values = {
        "model.depth": [1, 2, 3],
        "model.slice_depth": [0, 1],
        "model.temporal_depth": [1, 2],
    }
    paths = list(values)
    forbid = data.draw(
        st.lists(
            st.lists(st.sampled_from(paths), min_size=1, max_size=3, unique=True).flatmap(
                lambda named: st.fixed_dictionaries({p: st.sampled_from(values[p]) for p in named})
            ),
            max_size=3,
        )
    )
    space = space_of({path: {"ordered": v} for path, v in values.items()}, forbid=forbid)
    try:
        space.check()
    except ConfigError:
        return
    for drawn in itertools.product(*values.values()):
        answers = [values[path].index(value) for path, value in zip(paths, drawn, strict=True)]
        config = space.config(space.point(ListTrial(answers)))
        assert not any(matches(f, lambda p, c=config: get_path(c, p)) for f in space.forbid)
        raw = dict(zip(paths, drawn, strict=True))
        if not any(matches(f, raw.__getitem__) for f in space.forbid):
            assert [get_path(config, path) for path in paths] == list(drawn)


@pytest.mark.parametrize(
    ("forbid", "message"),
    [
        ([{"model.embed_dims": 32}], r"model\.embed_dims is no config path"),
        ([{"model.embed_dim": 48}], r"model\.embed_dim = 48 never occurs"),
        ([{"optimizer.lr": 1e-3}], r"forbid names optimizer\.lr, which is continuous"),
        ([{"model.attention_heads": 2}], r"which is derived. Name model\.num_heads"),
        ([{"model.embed_dim": 32, "model.num_heads": 2}], "The default configuration has a forb"),
        ([{"model.embed_dim": 64, "model.num_heads": [2, 4]}], "every value of .* forbidden"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused_in_one_sentence(
    forbid: list[dict[str, Any]], message: str
) -> None:
    parameters = {
        "model.embed_dim": {"choice": [32, 64]},
        "model.num_heads": {"choice": [2, 4]},
        "optimizer.lr": {"log_uniform": [1e-4, 1e-2]},
    }
    derive = {"model.attention_heads": {"equals": "model.num_heads"}}
    with pytest.raises(ConfigError, match=message):
        space_of(parameters, forbid=forbid, derive=derive).check()


def test_a_combination_that_two_others_close_off_together_is_found() -> None:
    forbid = [
        {"model.embed_dim": 64, "model.num_heads": 2},
        {"model.depth": 2, "model.num_heads": 4},
    ]
    parameters = {
        "model.embed_dim": {"choice": [32, 64]},
        "model.depth": {"int": [1, 2]},
        "model.num_heads": {"choice": [2, 4]},
    }
    with pytest.raises(ConfigError, match=r"every value of model\.num_heads is forbidden"):
        space_of(parameters, forbid=forbid).check()


def test_a_combination_with_the_base_value_of_what_is_not_searched_then_is_found() -> None:
    parameters = {
        "model.depth": {"int": [1, 2]},
        "model.slice_depth": {"int": [0, 1], "when": {"model.depth": 1}},
    }
    forbid = [{"model.depth": 2, "model.slice_depth": 1}]
    with pytest.raises(ConfigError, match=r"reached where model\.slice_depth is not searched"):
        space_of(parameters, forbid=forbid).check()


def test_a_condition_on_a_value_that_never_occurs_is_refused() -> None:
    parameters = {
        "model.depth": {"int": [1, 2]},
        "model.drop_rate": {"choice": [0.0, 0.2], "when": {"model.depth": 3}},
    }
    with pytest.raises(ConfigError, match=r"model\.depth = 3 never occurs"):
        space_of(parameters).check()


def test_conditions_nest_and_an_inactive_one_counts_with_its_base_value() -> None:
    space = space_of(
        {
            "preprocessing.high_pass_hz": {"choice": [0.0, 0.008]},
            "preprocessing.temporal_filter": {
                "choice": ["cosine", "butterworth"],
                "when": {"preprocessing.high_pass_hz": 0.008},
            },
            "preprocessing.low_pass_hz": {
                "choice": [0.0, 0.1],
                "when": {"preprocessing.temporal_filter": "butterworth"},
            },
        }
    )
    space.check()
    for point in sample_points(space, 40, seed=4):
        is_filtered = point["preprocessing.high_pass_hz"] == 0.008
        is_sharp = point.get("preprocessing.temporal_filter") == "butterworth"
        assert ("preprocessing.temporal_filter" in point) == is_filtered
        assert ("preprocessing.low_pass_hz" in point) == is_sharp


def test_a_value_of_two_sections_that_do_not_go_together_is_found() -> None:
    parameters = {
        "sequences.num_volumes": {"choice": [1, 8]},
        "training.temporal_mask_fraction": {"choice": [0.0, 0.5]},
    }
    with pytest.raises(ConfigError, match="where nothing can be hidden"):
        space_of(parameters).check()
    forbid = [{"sequences.num_volumes": 1, "training.temporal_mask_fraction": 0.5}]
    space_of(parameters, forbid=forbid).check()


def test_freezing_takes_one_of_the_values_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(write_yaml({"name": "s", "parameters": HEADS, "forbid": ODD_HEADS}))
    space = read_space_file(file, [], ["model.embed_dim=64"]).space
    space.check()
    assert space.default_config.model.embed_dim == 64
    assert {p["model.num_heads"] for p in sample_points(space, 30)} == {2, 4}
    with pytest.raises(ConfigError, match=r"not among \{24 < 32 < 64\}"):
        read_space_file(file, [], ["model.embed_dim=48"])
    with pytest.raises(ConfigError, match=r"Use --set model\.depth=2"):
        read_space_file(file, [], ["model.depth=2"])
    with pytest.raises(ConfigError, match="--freeze model is not of the form key=value"):
        read_space_file(file, [], ["model"])


def test_the_default_sampler_learns_from_an_order() -> None:
    """Scores rise with the place; most later proposals are from the better half."""
    space = space_of({"sequences.num_volumes": {"ordered": list(range(1, 17))}})
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=8)
    )
    values = []
    for _ in range(40):
        trial = study.ask()
        values.append(space.point(trial)["sequences.num_volumes"])
        study.tell(trial, float(values[-1]))
    assert sum(value > 8 for value in values[20:]) >= 15
