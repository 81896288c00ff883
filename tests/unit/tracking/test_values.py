from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spectrum.tracking.values import (
    datasets_of_sides,
    description_of,
    floor_params,
    nested,
    outcome_params,
    plain,
    safe_name,
    safe_text,
    tags_of_line,
    values_of_epoch,
)
from tests.unit.report.planted_study import (
    FOLDS,
    epochs_of,
    floor_json,
    line_of,
    planted_trials,
)


def test_every_number_of_every_fold_and_the_pooled_ones_are_named() -> None:
    record = epochs_of(planted_trials()[3])[2]
    found = {(v.name, v.fold, v.role): v.value for v in values_of_epoch(record) if not v.dataset}
    for fold in record.folds:
        assert found["loss", fold.fold, "training"] == fold.training_loss
        assert found["loss", fold.fold, "validation"] == fold.validation_loss
        assert found["accuracy", fold.fold, "training"] == fold.training_accuracy
        assert found["accuracy", fold.fold, "validation"] == fold.validation_accuracy
        assert found["lr", fold.fold, "training"] == fold.lr
        assert found["gradient_norm", fold.fold, "training"] == fold.metrics["gradient_norm"]
        assert found["sequences_per_s", fold.fold, "training"] == fold.measured["sequences_per_s"]
    assert found["score", "all", "validation"] == record.score.value
    assert found["score_ci_low", "all", "validation"] == record.score.ci95[0]
    assert found["score_ci_high", "all", "validation"] == record.score.ci95[1]
    assert found["loss", "all", "validation"] == pytest.approx(
        np.mean([fold.validation_loss for fold in record.folds])
    )
    assert len(found) == 7 * len(FOLDS) + 6


def test_a_validation_metric_of_a_fold_is_filed_under_its_side() -> None:
    record = epochs_of(planted_trials()[0])[0]
    fold = replace(record.folds[0], metrics={"validation_kappa": 0.25})
    found = {(v.name, v.role): v.value for v in values_of_epoch(replace(record, folds=(fold,)))}
    assert found["kappa", "validation"] == 0.25


def test_an_epoch_without_folds_still_has_its_score() -> None:
    record = replace(epochs_of(planted_trials()[0])[0], folds=())
    assert {v.name for v in values_of_epoch(record)} == {"score", "score_ci_low", "score_ci_high"}


def test_the_score_of_a_data_set_is_the_mean_over_its_subjects() -> None:
    record = epochs_of(planted_trials()[3])[2]
    found = {v.dataset: v.value for v in values_of_epoch(record) if v.dataset}
    for dataset in FOLDS:
        own = [v for name, v in record.score.by_group.items() if name.startswith(f"{dataset}/")]
        assert found[dataset] == pytest.approx(np.mean(own))
    assert set(found) == set(FOLDS)


def test_a_side_of_several_data_sets_is_of_none() -> None:
    folds = [{"name": "a", "training": ["b/x", "c/y"], "validation": ["a/x", "a/y"]}]
    datasets = datasets_of_sides(folds)
    assert datasets == {("a", "validation"): "a"}
    record = epochs_of(planted_trials()[3])[0]
    fold = replace(record.folds[0], fold="a")
    values = values_of_epoch(replace(record, folds=(fold,)), datasets)
    contexts = {v.role: v.context for v in values if v.fold == "a"}
    assert contexts == {
        "training": {"fold": "a", "role": "training"},
        "validation": {"fold": "a", "role": "validation", "dataset": "a"},
    }


def test_texts_carry_no_markup() -> None:
    assert safe_text("a <img src=x>") == "a \u2039img src=x\u203a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (math.nan, "nan"),
        (np.float64("-inf"), "-inf"),
        ((1, (2.5, None)), [1, [2.5, None]]),
        ({1: {"a": np.float64(2)}}, {"1": {"a": 2.0}}),
        ("x" * 9000, "x" * 2000),
    ],
)
def test_values_become_plain_json(value: Any, expected: Any) -> None:
    result = plain(value)
    assert result == expected
    assert type(result) is type(expected)
    json.dumps(result, allow_nan=False)


def test_dotted_and_nested_names_become_the_same_levels() -> None:
    flat = {"optimizer.lr": 0.1, "model.depth": 3, "seed": 0}
    deep = {"optimizer": {"lr": 0.1}, "model": {"depth": 3}, "seed": 0}
    assert nested(flat) == deep
    assert nested(deep) == deep


def test_the_floor_becomes_numbers_to_query_by() -> None:
    params = floor_params(floor_json())
    assert params["score"] == 0.64
    assert params["majority"] == 0.5
    assert params["chance"] == 0.5


def test_a_floor_without_data_set_score_has_no_such_parameter() -> None:
    assert "dataset" not in floor_params({**floor_json(), "dataset": None})


def test_the_outcome_holds_score_interval_and_folds() -> None:
    trial = planted_trials()[3]
    params = outcome_params(line_of(trial))
    assert params["trial"]["score"] == trial.score
    assert params["trial"]["ci95_low"] < trial.score < params["trial"]["ci95_high"]
    assert params["trial"]["state"] == "complete"
    assert set(params["folds"]) == set(FOLDS)


def test_a_failed_trial_has_its_cause_and_no_score() -> None:
    params = outcome_params(line_of(planted_trials()[7]))
    assert params["trial"]["error"]["kind"] == "out-of-memory"
    assert "score" not in params["trial"]


def test_the_state_decides_one_tag() -> None:
    tags = [tags_of_line(line_of(trial)) for trial in planted_trials()]
    assert tags == [("complete",)] * 6 + [("pruned",), ("failed:oom",)]
    other = {"state": "failed", "error": {"kind": "LeakageError"}}
    assert tags_of_line(other) == ("failed:LeakageError",)


@pytest.mark.parametrize("name", ["<img src=x>", "a\0b", "../" * 4000, "", "\n"])
def test_names_carry_no_markup_and_have_bounded_length(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= 200
    assert not set(safe) & set("<>&\0\n'\"")


def test_what_was_searched_is_one_line_of_last_names() -> None:
    params = {"optimizer.lr": 0.00031415, "model.patch_pooling": "<mean>", "model.num_heads": 4}
    told = "num_heads 4, patch_pooling \u2039mean\u203a, lr 0.000314"
    assert description_of(params) == told
    assert description_of({}) == ""
