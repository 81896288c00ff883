from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum.errors import SearchError
from spectrum.search.view import view_study
from tests.unit.report.planted_study import (
    epochs_of,
    line_of,
    planted_trials,
    predictions_of,
    write_study,
    write_trial,
)


def test_records_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    trial = planted_trials()[2]
    assert view_study(folder).records_of(2) == epochs_of(trial)


def test_the_last_line_of_a_trial_counts(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    with (folder / "trials.jsonl").open("a") as file:
        file.write(json.dumps({**line_of(planted_trials()[1]), "seconds": 99.5}) + "\n")
    lines = {line["number"]: line for line in view_study(folder).lines}
    assert lines[1]["seconds"] == 99.5
    assert len(lines) == len(planted_trials())


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    with (folder / "trials.jsonl").open("a") as file:
        file.write('{"number": 8, "sta')
    assert {line["number"] for line in view_study(folder).lines} == set(range(8))


def test_a_trial_with_records_and_no_line_is_unfinished(tmp_path: Path) -> None:
    trials = planted_trials()
    folder = write_study(tmp_path / "study", trials=trials[:3])
    write_trial(folder, trials[6])
    read = view_study(folder)
    assert read.unfinished == (6,)
    assert read.numbers == {0, 1, 2, 6}


def test_the_best_trial_is_the_complete_one_with_the_highest_value(tmp_path: Path) -> None:
    read = view_study(write_study(tmp_path / "study"))
    assert read.best is not None
    assert read.best["number"] == 3
    assert read.tags_of(3) == ("best",)
    assert read.tags_of(0) == ("default",)
    assert read.tags_of(7) == ()


def test_predictions_read_back_as_they_were_written(tmp_path: Path) -> None:
    view = view_study(write_study(tmp_path / "study"))
    assert view.predictions_of(4) == predictions_of(planted_trials()[4])
    assert view.predictions_of(7) == ()


def test_a_line_damaged_in_the_middle_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    lines = (folder / "trials.jsonl").read_text().splitlines()
    (folder / "trials.jsonl").write_text("\n".join([lines[0], lines[1][:20], *lines[2:], ""]))
    with pytest.raises(SearchError, match="damaged in line 2"):
        view_study(folder)


def test_a_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="holds no study"):
        view_study(tmp_path / "nowhere")
