"""The ladder that a study keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spectrum.cli.live import table_of
from spectrum.cli.summary import search_text
from spectrum.cli.tables import ladder_lines
from spectrum.errors import LeakageError, SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.ladders import (
    LADDER_NAME,
    begin_ladder,
    keep_ladder,
    ladder_scores,
    read_ladder,
    rungs_above_floor,
    told_rungs,
)
from spectrum.search.manifest import changes
from spectrum.search.result import StudyResult
from spectrum.search.settings import StudySettings
from spectrum.search.status import StudyStatus
from tests.unit.search.fakes import small_space
from tests.unit.search.test_selection import ended


def begun(path: Path) -> Path:
    path.mkdir()
    folder = StudyFolder(path)
    folder.write_manifest({"name": path.name, "data": {"content": "abc"}})
    folder.write("floor.json", {"target": "early_late", "scheme": "leave-one-dataset-out"})
    return path


def ladder(**scores: float) -> dict[str, Any]:
    return {
        "target": "early_late",
        "scheme": "leave-one-dataset-out",
        "rungs": [{"name": name, "score": score} for name, score in scores.items()],
    }


def test_rungs_that_are_fitted_later_join_the_earlier_ones(tmp_path: Path) -> None:
    study = begun(tmp_path / "s")
    assert ladder_scores(study) is None
    keep_ladder(study, ladder(floor=0.6, parcels=0.7), content_hash="abc")
    keep_ladder(study, ladder(floor=0.61, mlp=0.65), content_hash="abc")
    assert ladder_scores(study) == {"floor": 0.61, "mlp": 0.65, "parcels": 0.7}


@pytest.mark.parametrize(
    ("change", "content_hash", "said"),
    [
        ({}, "other", "the shard set other"),
        ({"target": "stage"}, "abc", "the target stage"),
        ({"scheme": "grouped-k-fold"}, "abc", "the scheme grouped-k-fold"),
    ],
)
def test_a_ladder_of_another_question_is_not_kept(
    tmp_path: Path, change: dict[str, str], content_hash: str, said: str
) -> None:
    study = begun(tmp_path / "s")
    with pytest.raises(SearchError, match=said):
        keep_ladder(study, {**ladder(floor=0.6), **change}, content_hash=content_hash)
    assert read_ladder(study) is None


def test_a_changed_ladder_is_refused(tmp_path: Path) -> None:
    study = begun(tmp_path / "s")
    path = keep_ladder(study, ladder(floor=0.6), content_hash="abc")
    assert path.name == LADDER_NAME
    told = json.loads(path.read_text("utf-8"))
    told["rungs"][0]["score"] = 0.2
    path.write_text(json.dumps(told))
    with pytest.raises(SearchError, match="changed or damaged"):
        read_ladder(study)


def complete(**scores: float) -> dict[str, Any]:
    told = ladder(**scores)
    rungs = [{**rung, "ci95": [0.4, 0.9], "about": "simple"} for rung in told["rungs"]]
    return {**told, "rungs": rungs, "skipped": {}}


def test_a_study_fits_its_ladder_once_and_names_each_rung_that_is_missing(tmp_path: Path) -> None:
    study, calls = begun(tmp_path / "s"), []

    def fit() -> dict[str, Any]:
        calls.append(1)
        return {**complete(floor=0.6, parcels=0.7), "skipped": {"glm": "no run has events."}}

    notes = begin_ladder(study, fit, content_hash="abc")
    assert notes == ("The rung glm is missing: no run has events.",)
    assert ladder_scores(study) == {"floor": 0.6, "parcels": 0.7}
    assert begin_ladder(study, fit, content_hash="abc") == ()
    assert len(calls) == 1


def test_a_ladder_that_fails_is_a_note_and_is_tried_again(tmp_path: Path) -> None:
    study = begun(tmp_path / "s")

    def fail() -> dict[str, Any]:
        raise ValueError("singular")

    (note,) = begin_ladder(study, fail, content_hash="abc")
    assert "No ladder of simpler models was fitted (ValueError: singular)." in note
    assert "spectrum baselines" in note
    assert read_ladder(study) is None
    begin_ladder(study, lambda: complete(parcels=0.7), content_hash="abc")
    assert ladder_scores(study) == {"parcels": 0.7}


def test_a_leak_that_the_ladder_finds_ends_the_study(tmp_path: Path) -> None:
    def leak() -> dict[str, Any]:
        raise LeakageError("two sides")

    with pytest.raises(LeakageError):
        begin_ladder(begun(tmp_path / "s"), leak, content_hash="abc")


def test_a_study_may_be_continued_with_or_without_a_ladder() -> None:
    assert StudySettings().ladder == "linear"
    before = small_space(ladder="none")
    manifest = {"space": before.model_dump(mode="json"), "versions": {}}
    changed = changes(manifest, small_space(ladder="linear"), None)
    assert not [line for line in changed if "ladder" in line]


def result_of(told: dict[str, Any] | None) -> dict[str, Any]:
    floor = {"value": 0.5, "ci95": [0.4, 0.6]}
    return StudyResult(
        study=Path("s"),
        lines={0: ended(0, 0.8)},
        floor={"floor": floor, "majority": floor, "chance": 0.5, "verdict": "v"},
        seconds=1.0,
        ladder=told,
    ).to_json()


def test_a_result_sets_the_models_of_the_ladder_beside_the_best() -> None:
    told = result_of(complete(dummy=0.5, floor=0.5, parcels=0.71, glm=0.62))
    assert told["best"]["ladder"] == {"parcels": 0.71, "glm": 0.62}
    assert told["ladder"]["glm"] == {"score": 0.62, "ci95": [0.4, 0.9], "about": "simple"}
    text = search_text({**told, "report": "r.html", "aim_repo": "aim"})
    rows = [line.split()[:2] for line in text.splitlines()]
    assert [row for row in rows if row and row[0] in ("floor", "parcels", "glm")] == [
        ["floor", "0.500"],
        ["parcels", "0.710"],
        ["glm", "0.620"],
    ]


def test_a_result_without_a_ladder_says_so() -> None:
    told = result_of(None)
    assert told["ladder"] is told["best"]["ladder"] is None
    text = search_text({**told, "report": "r.html", "aim_repo": "aim"})
    assert "ladder   no simpler model was fitted" in text
    assert rungs_above_floor(None) == ()


def test_the_live_table_names_the_ladder_beside_the_best_score() -> None:
    status = StudyStatus(
        trials=(),
        num_done=1,
        num_total=2,
        best=(0, 0.8),
        seconds_left=None,
        floor=0.5,
        ladder={"dummy": 0.5, "floor": 0.5, "parcels": 0.71},
    )
    headline = str(table_of(status).renderables[0])
    assert headline.endswith("floor 0.500, parcels 0.710")


def test_models_are_told_with_intervals_and_where_they_were_scored() -> None:
    rungs = told_rungs(complete(dummy=0.5, floor=0.6, parcels=0.7))
    assert rungs == {"parcels": {"score": 0.7, "ci95": [0.4, 0.9], "about": "simple"}}
    (line,) = ladder_lines(rungs, "same folds")
    assert line == "parcels  0.700  [0.400, 0.900]  simple, same folds"
    assert ladder_lines(told_rungs(None), "same folds") == ["ladder   no simpler model was fitted"]
