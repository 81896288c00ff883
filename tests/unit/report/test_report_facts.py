from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectrum.report.facts import (
    dataset_scores,
    flat,
    format_value,
    leaderboard,
    problems,
    references,
    summary,
)
from spectrum.search.view import StudyView, view_study
from tests.unit.report.planted_study import planted_trials, write_study

PATHS = ("optimizer.lr", "preprocessing.fwhm_mm", "model.patch_pooling")


@pytest.fixture
def study(tmp_path: Path) -> StudyView:
    return view_study(write_study(tmp_path / "planted"))


def with_floor(study: StudyView, value: float, ci95: tuple[float, float]) -> StudyView:
    floor = {**(study.floor or {}), "floor": {"value": value, "ci95": list(ci95)}}
    return replace(study, floor=floor)


def test_the_summary_calls_the_best_score_selected_and_names_all_it_is_read_against(
    study: StudyView,
) -> None:
    text = " ".join(summary(study))
    assert "Of 8 trials, 6 finished, 1 stopped early and 1 failed." in text
    assert "Trial 3 was selected: of 6 finished trials" in text
    assert "0.780 (95 % interval 0.670 to 0.870)" in text
    assert "the default configuration scores 0.610" in text
    assert "the floor (acquisition numbers alone) is 0.640" in text
    assert "majority class scores 0.500" in text
    assert "chance is 0.500" in text
    assert "optimistic" in text


@pytest.mark.parametrize(
    ("value", "ci95", "sentence"),
    [
        (0.6, (0.55, 0.66), "their intervals do not meet"),
        (0.66, (0.6, 0.7), "the two intervals overlap"),
        (0.7, (0.6, 0.8), "its interval reaches down to it"),
        (0.78, (0.7, 0.8), "is not above the floor"),
        (0.9, (0.8, 0.95), "is not above the floor"),
    ],
)
def test_the_summary_says_how_the_selected_score_stands_to_the_floor(
    study: StudyView, value: float, ci95: tuple[float, float], sentence: str
) -> None:
    assert sentence in " ".join(summary(with_floor(study, value, ci95)))


def test_without_a_floor_the_summary_says_what_cannot_be_said(study: StudyView) -> None:
    assert "The floor was not measured" in " ".join(summary(replace(study, floor=None)))


def test_a_single_trial_is_not_called_optimistic(tmp_path: Path) -> None:
    study = view_study(write_study(tmp_path / "one", trials=planted_trials()[:1]))
    text = " ".join(summary(study))
    assert "of 1 finished trial it" in text
    assert "optimistic" not in text


def test_trials_that_did_not_end_are_counted(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", trials=planted_trials()[:2])
    (folder / "trials" / "5").mkdir()
    assert summary(view_study(folder))[0] == "Of 3 trials, 2 finished and 1 did not end."


def test_the_leaderboard_holds_every_trial_once_in_order_of_merit(study: StudyView) -> None:
    rows = leaderboard(study, PATHS)
    assert [row.number for row in rows] == [3, 5, 2, 0, 4, 1, 6, 7]
    assert [row.rank for row in rows] == ["1", "2", "3", "4", "5", "6", "", ""]
    assert [row.number for row in rows if row.is_best] == [3]
    assert [row.number for row in rows if row.is_default] == [0]


def test_a_row_sets_the_score_against_the_floor(study: StudyView) -> None:
    first, *_, stopped, failed = leaderboard(study, PATHS)
    assert (first.score, first.above_floor) == ("0.780", "+0.140")
    assert first.params == ("0.002", "4", "mean")
    assert (stopped.state, stopped.above_floor) == ("stopped early", "-0.120")
    assert (failed.score, failed.cause) == ("", "out-of-memory: CUDA ran out of memory.")


def test_a_conditional_parameter_that_a_trial_lacks_is_a_dash(study: StudyView) -> None:
    rows = leaderboard(study, ("training.patience_epochs",))
    assert {row.params for row in rows} == {("-",)}


def test_references_are_those_that_the_study_has(study: StudyView) -> None:
    assert [row.name for row in references(study)] == ["default", "floor", "majority", "chance"]
    bare = replace(study, floor=None, default=None)
    assert references(bare) == ()


def with_ladder(study: StudyView, **scores: float) -> StudyView:
    rungs = [
        {"name": name, "score": score, "ci95": [0.4, 0.9], "about": f"a model of {name}"}
        for name, score in scores.items()
    ]
    return replace(study, ladder={"rungs": rungs})


def test_the_models_of_the_ladder_are_references_after_the_floor(study: StudyView) -> None:
    found = references(with_ladder(study, dummy=0.5, floor=0.6, parcels=0.7, glm=0.65))
    assert [row.name for row in found] == [
        "default",
        "floor",
        "parcels",
        "glm",
        "majority",
        "chance",
    ]
    assert (found[2].value, found[2].ci95) == (0.7, (0.4, 0.9))


@pytest.mark.parametrize(
    ("parcels", "sentence"),
    [
        (
            0.7,
            "above every simpler model of the ladder, of which parcels scores highest.",
        ),
        (
            0.78,
            "does not lie above parcels: a simpler model does as well on these folds.",
        ),
    ],
)
def test_the_summary_says_how_the_selected_score_stands_to_simpler_models(
    study: StudyView, parcels: float, sentence: str
) -> None:
    text = " ".join(summary(with_ladder(study, floor=0.9, parcels=parcels, glm=0.6)))
    assert sentence in text
    assert f"a model of parcels scores {parcels:.3f} [0.400, 0.900]" in text


def test_a_study_without_a_ladder_says_so(study: StudyView) -> None:
    assert "No ladder of simpler models was fitted" in " ".join(summary(study))


def test_a_default_that_did_not_finish_is_no_reference(study: StudyView) -> None:
    stopped = replace(study, default={**(study.default or {}), "state": "pruned"})
    assert "default" not in {row.name for row in references(stopped)}


def test_subjects_are_grouped_by_data_set() -> None:
    by_group = {"ds000011/sub-01": 0.5, "ds000002/sub-02": 1.0, "ds000002/sub-01": 0.0}
    assert dataset_scores({"score": {"by_group": by_group}}) == {
        "ds000002": {"sub-01": 0.0, "sub-02": 1.0},
        "ds000011": {"sub-01": 0.5},
    }


def test_problems_are_found_at_any_level_of_the_manifest() -> None:
    problem = {"code": "missing-image", "path": "a.nii.gz", "message": "No image."}
    manifest = {"data": {"refused": [problem]}, "problems": [problem, problem]}
    assert len(problems(manifest)) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (1e-5, "1e-05"),
        (0.30000000000000004, "0.3"),
        ([1, 2.5], "1, 2.5"),
        ("cls", "cls"),
    ],
)
def test_values_are_written_for_people(value: Any, text: str) -> None:
    assert format_value(value) == text


def test_nested_settings_become_dotted_names() -> None:
    nested: Mapping[str, Any] = {"a": {"b": 1, "c": {"d": None}}, "e": 2}
    assert flat(nested) == {"a.b": "1", "a.c.d": "-", "e": "2"}


def test_json_of_a_study_with_undefined_numbers_is_still_told(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s")
    lines = [json.loads(text) for text in (folder / "trials.jsonl").read_text().splitlines()]
    lines[6]["score"]["value"] = None
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = {row.number: row for row in leaderboard(view_study(folder), PATHS)}
    assert rows[6].score == ""
