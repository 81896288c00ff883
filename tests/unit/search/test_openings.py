"""Openings count before they say anything, and no kill gives a look for free."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from spectrum.errors import SearchError
from spectrum.search.openings import Opening, Openings, Wanted
from spectrum.search.sealing import OPENINGS_NAME, UNSEALED_NAME

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
FOUND = {
    "score": {"value": 0.7, "ci95": [0.6, 0.8]},
    "floor": {"value": 0.55, "ci95": [0.5, 0.6]},
    "p": 0.03,
    "p_corrected": 0.03,
}


def wanted(trial: int = 4) -> Wanted:
    return Wanted(trial=trial, config={"seed": trial}, num_trials=12, num_reruns=6)


def begin(study: Path, *, trial: int = 4, data: str = "d" * 64, again: bool = False) -> Opening:
    return Openings(study).begin(wanted(trial), data=data, now=NOW, again=again)


def test_an_opening_is_on_disk_before_it_has_found_anything(tmp_path: Path) -> None:
    opening = begin(tmp_path)
    assert (opening.look, opening.again) == (1, False)
    assert Openings(tmp_path).cut_short == opening
    assert not (tmp_path / UNSEALED_NAME).exists()


def test_an_opening_cut_short_is_finished_with_what_it_began_with(tmp_path: Path) -> None:
    first = begin(tmp_path)
    second = begin(tmp_path, trial=9)
    assert second == first
    assert begin(tmp_path, trial=9, again=True) == first
    line = Openings(tmp_path).end(second, FOUND)
    assert (line["look"], line["trial"], line["opened"]) == (1, 4, "2026-02-03T04:05:06+00:00")
    assert Openings(tmp_path).cut_short is None


def test_a_second_look_is_refused_with_what_the_first_one_found(tmp_path: Path) -> None:
    Openings(tmp_path).end(begin(tmp_path), FOUND)
    with pytest.raises(
        SearchError, match=r"opened on 2026-02-03T04.*trial 4 scored 0\.700.*0\.550"
    ):
        begin(tmp_path)
    assert len(Openings(tmp_path).openings) == 1


def test_a_further_look_is_noted_as_one(tmp_path: Path) -> None:
    Openings(tmp_path).end(begin(tmp_path), FOUND)
    again = begin(tmp_path, trial=9, again=True)
    assert (again.look, again.again, again.wanted.trial) == (2, True, 9)
    line = Openings(tmp_path).end(again, FOUND)
    assert (line["look"], line["again"]) == (2, True)
    assert begin(tmp_path, again=True).look == 3


def test_other_data_finish_no_opening_and_cost_a_look(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(SearchError, match="cut short, and the data have changed"):
        begin(tmp_path, data="e" * 64)
    other = begin(tmp_path, data="e" * 64, again=True)
    assert (other.look, other.again) == (2, True)
    Openings(tmp_path).end(other, FOUND)
    with pytest.raises(SearchError, match="opened on"):
        begin(tmp_path)
    assert begin(tmp_path, again=True).look == 3


def test_half_a_line_is_cut_and_what_it_noted_has_not_begun(tmp_path: Path) -> None:
    Openings(tmp_path).end(begin(tmp_path), FOUND)
    for name in (OPENINGS_NAME, UNSEALED_NAME):
        with (tmp_path / name).open("ab") as file:
            file.write(b'{"look": 2, "open')
    openings = Openings(tmp_path)
    assert len(openings.openings) == len(openings.lines) == 1


def test_a_removed_note_of_an_opening_is_missed(tmp_path: Path) -> None:
    Openings(tmp_path).end(begin(tmp_path), FOUND)
    (tmp_path / OPENINGS_NAME).unlink()
    with pytest.raises(SearchError, match="an opening is missing"):
        Openings(tmp_path)
