"""Shard sets of a running study: held against others, told where the study removes its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectrum.data.holders import held_sets, mark_held
from spectrum.data.store import prune_sets
from spectrum.search.folder import StudyFolder
from spectrum.search.held_sets import sets_held


def planted(root: Path, name: str) -> Path:
    """Write a damaged set of 1,026 bytes that was used long ago."""
    (root / name).mkdir(parents=True)
    (root / name / "manifest.json").write_text("{}")
    (root / name / "sub-01.parquet").write_bytes(b"x" * 1024)
    return root / name


def test_what_a_study_removes_is_a_sentence_and_a_line_of_its_events(tmp_path: Path) -> None:
    study, shards = StudyFolder(tmp_path / "night"), tmp_path / "shards"
    study.path.mkdir()
    ours = planted(shards, "ours")
    notes: list[str] = []
    with sets_held(study, shards, notes.append) as holder:
        mark_held(shards, holder, ours)
        assert held_sets(shards) == {"ours": "night"}
        later = (ours / "manifest.json").stat().st_mtime + 100
        prune_sets(shards, budget_bytes=0, by="somebody else", clock=lambda: later + 60)
        assert ours.is_dir()
        prune_sets(shards, budget_bytes=0, by=holder, clock=lambda: later + 60)
        assert not ours.exists()
    assert held_sets(shards) == {}
    (line,) = (json.loads(text) for text in (study.path / "events.jsonl").open())
    assert (line["event"], line["set"], line["num_bytes"]) == ("evicted", "ours", 1026)
    assert notes == ["1 shard sets (1 KiB) were removed to stay within study.disk_gib: damaged."]


def test_a_study_that_breaks_off_tells_it_too_and_holds_nothing_any_more(tmp_path: Path) -> None:
    study, shards = StudyFolder(tmp_path / "night"), tmp_path / "shards"
    study.path.mkdir()
    planted(shards, "ours")
    notes: list[str] = []

    def search() -> None:
        with sets_held(study, shards, notes.append) as holder:
            prune_sets(shards, budget_bytes=0, by=holder, clock=lambda: 1e11)
            raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        search()
    assert len(notes) == 1
    assert held_sets(shards) == {}


def test_a_study_that_removes_nothing_says_nothing(tmp_path: Path) -> None:
    notes: list[str] = []
    with sets_held(StudyFolder(tmp_path / "night"), tmp_path / "shards", notes.append):
        pass
    assert notes == []
    assert not (tmp_path / "night").exists()
