from __future__ import annotations

import shutil
from pathlib import Path

from spectrum.tracking.run_map import RunMap


def test_a_trial_keeps_its_run_over_restarts(tmp_path: Path) -> None:
    first = RunMap.open(tmp_path).claim(7)
    again = RunMap.open(tmp_path)
    assert again.claim(7) == first
    assert again.claim(8) != first


def test_both_study_and_repository_can_be_moved(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path / "here" / "study")
    runs.claim(0)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = RunMap.open(tmp_path / "there" / "study")
    assert moved.hash_of == runs.hash_of
    assert moved.address == str(tmp_path / "there")


def test_a_copy_under_another_name_gets_runs_of_its_own(tmp_path: Path) -> None:
    first = RunMap.open(tmp_path / "one").claim(0)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert RunMap.open(tmp_path / "two").claim(0) != first


def test_another_repository_shows_nothing_yet_and_the_first_is_not_forgotten(
    tmp_path: Path,
) -> None:
    study = tmp_path / "study"
    runs = RunMap.open(study)
    runs.claim(0)
    runs.settle(0, "d", 5)
    other = RunMap.open(study, "aim://127.0.0.1:53800")
    assert other.is_remote
    assert other.hash_of == {}
    other.claim(0)
    assert RunMap.open(study).address == "aim://127.0.0.1:53800"
    back = RunMap.open(study, str(tmp_path))
    assert not back.is_remote
    assert (back.hash_of, back.digest_of, back.epochs_of) == (runs.hash_of, {0: "d"}, {0: 5})


def test_a_torn_file_begins_an_empty_map(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path)
    runs.claim(0)
    runs.path.write_text(runs.path.read_text()[:9])
    assert RunMap.open(tmp_path).hash_of == {}


def test_a_run_that_is_about_to_change_shows_nothing_for_certain(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path)
    runs.claim(3)
    runs.settle(3, "digest", 5)
    assert RunMap.open(tmp_path).digest_of == {3: "digest"}
    runs.unsettle(3)
    assert RunMap.open(tmp_path).digest_of == {}
    assert RunMap.open(tmp_path).epochs_of == {3: 5}


def test_a_forgotten_trial_leaves_nothing(tmp_path: Path) -> None:
    runs = RunMap.open(tmp_path)
    runs.claim(3)
    runs.settle(3, "digest", 5)
    runs.forget(3)
    again = RunMap.open(tmp_path)
    assert (again.hash_of, again.digest_of, again.epochs_of) == ({}, {}, {})
