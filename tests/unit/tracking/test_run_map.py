from __future__ import annotations

from pathlib import Path

from spectrum.tracking.run_map import RunMap


def test_a_trial_keeps_its_run_over_restarts(tmp_path: Path) -> None:
    first = RunMap.open(tmp_path / "s", identity="one").hash_of(7)
    again = RunMap.open(tmp_path / "s", identity="one")
    assert again.hash_of(7) == first
    assert again.hash_of(8) != first


def test_a_new_study_of_the_same_name_gets_new_runs(tmp_path: Path) -> None:
    first = RunMap.open(tmp_path, identity="one").hash_of(0)
    assert RunMap.open(tmp_path, identity="two").hash_of(0) != first


def test_a_torn_file_begins_an_empty_map(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path, identity="")
    runs.hash_of(0)
    runs.path.write_text(runs.path.read_text()[:9])
    assert RunMap.open(tmp_path, identity="").hash_of_trial == {}


def test_a_digest_tells_one_line_from_another(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path, identity="")
    runs.hash_of(3)
    runs.set_digest(3, {"state": "complete"})
    again = RunMap.open(tmp_path, identity="")
    assert again.shows(3, {"state": "complete"})
    assert not again.shows(3, {"state": "failed"})
    again.set_digest(3, None)
    assert not RunMap.open(tmp_path, identity="").shows(3, {"state": "complete"})


def test_a_forgotten_trial_leaves_nothing(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path, identity="")
    runs.hash_of(3)
    runs.set_digest(3, {"a": 1})
    runs.forget(3)
    again = RunMap.open(tmp_path, identity="")
    assert again.hash_of_trial == {}
    assert again.digest_of_trial == {}
