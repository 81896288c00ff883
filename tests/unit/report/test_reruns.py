"""What the report says of re-runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spectrum.report.facts import summary
from spectrum.report.reruns import front_sentences, how_selected, rerun_rows, rerun_sentences
from spectrum.search.selection import Selection
from spectrum.search.view import StudyView, view_study
from tests.unit.report.planted_study import write_study


def study_with_reruns(tmp_path: Path) -> StudyView:
    study = view_study(write_study(tmp_path / "study"))
    second = study.complete[1]["number"]
    scores = {second: (0.7, 0.72), study.complete[0]["number"]: (0.6, 0.64), 0: (0.55, 0.5)}
    selection = Selection(
        num_trials=len(study.lines), num_seeds=2, scores=scores, winner=second, failed=(4,)
    )
    return replace(study, selection=selection)


def test_the_selected_trial_is_the_one_of_the_highest_mean(tmp_path: Path) -> None:
    study = study_with_reruns(tmp_path)
    assert study.best is not None
    assert study.best["number"] == study.complete[1]["number"]
    assert how_selected(study).startswith("of 4 trials that were run again with 2 new seeds")
    assert any("0.710 on average, the default configuration 0.525" in s for s in summary(study))


def test_rows_come_by_mean_with_the_search_s_score_beside(tmp_path: Path) -> None:
    study = study_with_reruns(tmp_path)
    rows = rerun_rows(study)
    assert [row.mean for row in rows] == ["0.710", "0.620", "0.525"]
    assert [row.is_best for row in rows] == [True, False, False]
    assert rows[2].is_default
    assert rows[1].score == f"{study.complete[0]['value']:.3f}"


def test_without_re_runs_nothing_is_said_of_them(tmp_path: Path) -> None:
    study = view_study(write_study(tmp_path / "study"))
    assert rerun_sentences(study) == rerun_rows(study) == ()
    assert "finished trials it scored highest" in how_selected(study)


def test_a_front_is_told_with_its_objectives(tmp_path: Path) -> None:
    study = view_study(write_study(tmp_path / "study"))
    assert front_sentences(study) == ()
    one, other = (line["number"] for line in study.complete[:2])
    point_of = {one: {"score": 0.75, "seconds": 9.0}, other: {"score": 0.7, "seconds": 2.0}}
    lines = tuple({**line, "objectives": point_of.get(line["number"])} for line in study.lines)
    (told,) = front_sentences(replace(study, lines=lines, front=(one, other)))
    assert f"trial {one} (score 0.75, seconds 9)" in told
    assert f"trial {other} (score 0.7, seconds 2)" in told
