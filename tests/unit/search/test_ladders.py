"""The ladder that a study keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.ladders import LADDER_NAME, keep_ladder, ladder_scores, read_ladder


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
