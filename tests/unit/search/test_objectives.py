"""Several objectives: their values, the front, and that pruning and resume work all the same."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spectrum.errors import ConfigError, SearchError
from spectrum.search.objectives import num_parameters, pareto_front, worst_dataset
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, small_space
from tests.unit.search.test_driver import lines_of, params_of, states_in_journal

HALVING = {"rule": "halving", "min_epochs": 1, "reduction": 2, "min_rivals": 2}


def test_the_front_is_what_no_other_trial_beats() -> None:
    rng = np.random.default_rng(2)
    lines = {
        n: {
            "number": n,
            "state": "complete",
            "objectives": {"score": float(s), "seconds": float(t)},
        }
        for n, (s, t) in enumerate(rng.random((60, 2)))
    }
    front = pareto_front(lines, ("score", "seconds"))
    for one, other in pairwise(front):
        a, b = lines[one]["objectives"], lines[other]["objectives"]
        assert a["score"] > b["score"]
        assert a["seconds"] > b["seconds"]
    for number in set(lines) - set(front):
        own = lines[number]["objectives"]
        assert any(
            lines[n]["objectives"]["score"] >= own["score"]
            and lines[n]["objectives"]["seconds"] <= own["seconds"]
            for n in front
        )


def test_equal_trials_stand_on_the_front_together() -> None:
    lines = {n: {"number": n, "state": "complete", "objectives": {"score": 0.5}} for n in range(3)}
    assert pareto_front(lines, ("score",)) == (0, 1, 2)


def test_the_worst_data_set_is_the_lowest_mean_over_its_subjects() -> None:
    by_group = {"ds1/sub-01": 1.0, "ds1/sub-02": 0.0, "ds2/sub-01": 0.75, "ds2/sub-02": 0.25}
    assert worst_dataset({**by_group, "ds3/sub-01": 0.4}, 0.5) == pytest.approx(0.4)
    assert worst_dataset({}, 0.5) == 0.5


def test_parameters_are_counted_in_the_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints/ds000002"
    folder.mkdir(parents=True)
    tensors = {"a": torch.zeros(3, 5), "b": torch.zeros(7), "scale": torch.tensor(1.0)}
    save_file(tensors, folder / "model.safetensors")
    assert num_parameters(tmp_path) == 23
    with pytest.raises(SearchError, match="holds no checkpoint"):
        num_parameters(tmp_path / "nowhere")


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "nsgaiii", "random"])
def test_a_study_of_two_objectives_prunes_resumes_and_tells_its_front(
    tmp_path: Path, sampler: str
) -> None:
    space = small_space(objectives=["score", "worst_dataset"], sampler=sampler, pruner=HALVING)
    path, tracker = tmp_path / "s", ListTracker()
    drive(tmp_path / "whole", num_trials=14, tracker=ListTracker(), space=space)
    for num_trials in (5, 9, 14):
        drive(path, num_trials=num_trials, tracker=tracker, space=space)
    assert params_of(path) == params_of(tmp_path / "whole")
    lines = {line["number"]: line for line in lines_of(path)}
    assert "PRUNED" in states_in_journal(path / "optuna.journal").values()
    front = json.loads((path / "front.json").read_text())["trials"]
    assert front == list(pareto_front(lines, ("score", "worst_dataset")))
    tagged = {number: tags for number, _, tags in tracker.ends}
    assert {number for number, tags in tagged.items() if "pareto" in tags} == set(front)


def test_objectives_are_named_once_and_begin_with_the_score() -> None:
    with pytest.raises(ConfigError, match="does not begin with score"):
        small_space(objectives=["seconds", "score"])
    with pytest.raises(ConfigError, match="names one twice"):
        small_space(objectives=["score", "score"])
