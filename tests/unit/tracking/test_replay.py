from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from spectrum.errors import SearchError
from spectrum.tracking.replay import epoch_from_json, read_trials
from tests.unit.report.planted_study import (
    epochs_of,
    line_of,
    planted_trials,
    write_study,
    write_trial,
)


def test_records_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    trial = planted_trials()[2]
    assert tuple(read_trials(folder).records_of(2)) == epochs_of(trial)


def test_the_last_line_of_a_trial_counts(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    with (folder / "trials.jsonl").open("a") as file:
        file.write(json.dumps({**line_of(planted_trials()[1]), "seconds": 99.5}) + "\n")
    lines = {line["number"]: line for line in read_trials(folder).lines}
    assert lines[1]["seconds"] == 99.5
    assert len(lines) == len(planted_trials())


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    with (folder / "trials.jsonl").open("a") as file:
        file.write('{"number": 8, "sta')
    assert {line["number"] for line in read_trials(folder).lines} == set(range(8))


def test_a_trial_with_records_and_no_line_is_unfinished(tmp_path: Path) -> None:
    trials = planted_trials()
    folder = write_study(tmp_path / "study", trials=trials[:3])
    write_trial(folder, trials[6])
    read = read_trials(folder)
    assert read.unfinished == (6,)
    assert read.numbers == {0, 1, 2, 6}


def test_the_best_trial_is_the_complete_one_with_the_highest_value(tmp_path: Path) -> None:
    read = read_trials(write_study(tmp_path / "study"))
    assert read.best == 3
    assert read.tags_of(3) == ("best",)
    assert read.tags_of(0) == ("default",)
    assert read.tags_of(7) == ()


def test_numbers_that_are_not_finite_read_back_as_such() -> None:
    (record, *_) = epochs_of(planted_trials()[0])
    fold = {**record.folds[0].to_json(), "training_loss": None, "lr": "inf"}
    value = {"epoch": 0, "score": record.score.to_json(), "folds": [fold], "finished": False}
    read = epoch_from_json(value).folds[0]
    assert math.isnan(read.training_loss)
    assert math.isinf(read.lr)


def test_a_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="is no folder"):
        read_trials(tmp_path / "nowhere")
