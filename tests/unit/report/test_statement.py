"""The statement of a planted study: what it says, and that nothing in it is claimed too much."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectrum.entities import RunKey
from spectrum.errors import SearchError
from spectrum.evaluation.dissociation import RunAnswer
from spectrum.evaluation.dissociation_tasks import Skipped, evaluate_task
from spectrum.report.statement_page import sentences, write_statement
from spectrum.scores import score_predictions
from spectrum.search.statement import build_statement
from spectrum.search.view import StudyView, view_study
from tests.unit.report.planted_study import (
    CLASSES,
    planted_trials,
    predictions_of,
    write_study,
)
from tests.unit.report.test_report_page import Page


def scored(trial: int) -> dict[str, Any]:
    """Return the score of what a planted trial says, with its subjects."""
    predictions = predictions_of(planted_trials()[trial])
    return score_predictions(predictions, classes=CLASSES, paired=True).to_json()


def planted_view(folder: Path, *, floor_of_trial: int = 1) -> StudyView:
    """Return a study whose best trial is number 3, above the floor or at it."""
    view = view_study(write_study(folder))
    floor = {
        **(view.floor or {}),
        "target": "early_late",
        "scheme": "leave-one-dataset-out",
        "classes": list(CLASSES),
        "design": {"run": {"score": 1.0, "ci95": [1.0, 1.0], "defines_target": True}},
        "floor": scored(floor_of_trial),
    }
    lines = tuple(
        {**line, "score": scored(3)} if line["number"] == 3 else line for line in view.lines
    )
    return replace(view, lines=lines, floor=floor)


def state(view: StudyView, *outcomes: Any, date: str, num_simulations: int = 4) -> dict[str, Any]:
    """State a study with few simulations of its power."""
    return build_statement(view, outcomes, date=date, num_simulations=num_simulations)


def reversal(*, anew: float, num_subjects: int = 6) -> Any:
    answers = [
        RunAnswer(key=RunKey(dataset="ds000052", subject=f"{s}", task=task, run=run), late=late)
        for s in range(num_subjects)
        for task, run, late in (
            ("weatherprediction", "2", 0.5),
            ("reversalweatherprediction", "1", anew),
        )
    ]
    return evaluate_task("reversal", answers)


def test_the_statement_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    told = state(planted_view(tmp_path / "s"), date="2026-01-05")
    path = write_statement(tmp_path / "s", told)
    read = json.loads(path.read_text("utf-8"))
    assert {"score", "ci95", "p", "floor", "tasks"} <= set(read)
    assert read["score"] == pytest.approx(0.75)
    assert read["tested"]["trial"] == 3
    assert read["whom"]["subjects_by_dataset"] == dict.fromkeys(
        ("ds000002", "ds000011", "ds000017"), 4
    )


def test_every_look_at_the_data_is_counted_and_corrected_for(tmp_path: Path) -> None:
    told = state(planted_view(tmp_path / "s"), date="2026-01-05")
    assert told["looks"]["num_looks"] == 7
    assert told["looks"]["num_failed"] == 1
    assert "after 7 looks" in told["finding"]["reasons"][0]
    assert told["p"] > 0.05 / 7
    assert not told["finding"]["is_positive"]


def test_a_selected_score_is_called_optimistic_wherever_it_stands(tmp_path: Path) -> None:
    told = state(planted_view(tmp_path / "s"), date="2026-01-05")
    assert told["permutation"]["label"].startswith("selected, optimistic")
    assert "selected, optimistic" in " ".join(sentences(told))
    assert any("selected by it" in limit for limit in told["limits"])
    assert any("No sealed subject was opened" in limit for limit in told["limits"])


def test_what_so_many_subjects_can_show_is_that_of_the_power_simulation(tmp_path: Path) -> None:
    told = state(planted_view(tmp_path / "s"), date="2026-01-05", num_simulations=60)
    power = told["power"]
    assert (power["num_subjects"], power["num_units"]) == (12, 12)
    assert 0.7 < power["needed"] < power["smallest"] < power["smallest_above_floor"] <= 1.0
    assert any(power["told"] in limit for limit in told["limits"])


def test_a_score_at_its_floor_is_no_finding(tmp_path: Path) -> None:
    view = planted_view(tmp_path / "s", floor_of_trial=3)
    told = state(view, reversal(anew=0.2), date="2026-01-05")
    assert told["above_floor"]["difference"] == 0.0
    assert not told["finding"]["is_positive"]


@pytest.mark.parametrize(
    ("anew", "agrees", "said"), [(0.2, True, "agrees"), (0.9, False, "does not agree")]
)
def test_the_dissociation_counts_for_or_against_the_finding(
    tmp_path: Path, anew: float, agrees: bool, said: str
) -> None:
    told = state(planted_view(tmp_path / "s"), reversal(anew=anew), date="2026-01-05")
    assert told["dissociations_agree"] is agrees
    assert f"the dissociation {said}" in told["finding"]["reasons"][2]


def test_openings_of_sealed_subjects_are_counted(tmp_path: Path) -> None:
    view = planted_view(tmp_path / "s")
    line = {
        "opened": "2026-01-06T09:00:00+00:00",
        "look": 1,
        "trial": 3,
        "score": {"value": 0.7, "ci95": [0.5, 0.9]},
        "floor": {"value": 0.6},
        "p": 0.04,
        "p_corrected": 0.04,
    }
    (view.path / "openings.jsonl").write_text('{"look": 1}\n')
    cut = state(view, date="2026-01-07")
    assert cut["looks"]["num_unsealings"] == 1
    assert not any("No sealed subject" in limit for limit in cut["limits"])
    (view.path / "unsealed.jsonl").write_text(json.dumps(line) + "\n")
    told = state(view, date="2026-01-07")
    assert told["looks"]["num_unsealings"] == 1
    assert told["sealed"]["openings"] == [line]
    said = list(sentences(told))[-1]
    assert "scored 0.700 [0.500, 0.900] beside a floor of 0.600, p = 0.0400. This" in said
    again = {**line, "look": 2, "p_corrected": 0.08}
    (view.path / "unsealed.jsonl").write_text(json.dumps(again) + "\n")
    said = list(sentences(state(view, date="2026-01-07")))[-1]
    assert "p = 0.0800 (Bonferroni's correction for 2 looks at them; 0.0400 before)" in said
    assert not any("No sealed subject" in limit for limit in told["limits"])


def test_the_page_loads_nothing_and_tells_tasks_reasons_and_limits(tmp_path: Path) -> None:
    outcomes = [reversal(anew=0.2), Skipped(task="interleave", reason="Give --order <order.tsv>.")]
    told = state(planted_view(tmp_path / "s"), *outcomes, date="2026-01-05")
    write_statement(tmp_path / "s", told)
    page = Page((tmp_path / "s" / "statement.html").read_text("utf-8"))
    assert page.open == []
    assert page.addresses == []
    text = " ".join(" ".join(page.words).split())
    for said in (
        "learning gives above",
        "a clock gives below",
        "as a learning signal would have it",
        "Give --order <order.tsv>.",
        f"Subjects are few. {told['power']['told']}",
        "none was fitted for its question",
    ):
        assert said in text


def test_a_study_without_a_complete_trial_has_no_statement(tmp_path: Path) -> None:
    failed = tuple(trial for trial in planted_trials() if trial.state != "complete")
    view = view_study(write_study(tmp_path / "s", trials=failed))
    with pytest.raises(SearchError, match="no complete trial with predictions"):
        state(view, date="2026-01-05")
