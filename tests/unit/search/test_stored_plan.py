"""What the plan of a search tells of its addresses, and that it writes nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.search.stored import push_study
from spectrum.search.stored_plan import plan_storage
from spectrum.storage import ObjectStore, working_copy
from tests.s3_server import s3_environment, s3_process
from tests.unit.report.planted_study import write_study


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def studies(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'store' / 'studies'}"


def test_a_search_on_disks_of_this_machine_has_no_storage_to_tell(tmp_path: Path) -> None:
    assert plan_storage(tmp_path / "shards", tmp_path / "studies" / "joint") == []


def test_the_study_of_another_machine_is_told_with_who_works_on_it(
    tmp_path: Path, studies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = working_copy(studies).path / "joint"
    write_study(folder)
    push_study(folder, f"{studies}/joint")
    store = ObjectStore(f"{studies}/joint")
    store.put("lease.json", b'{"token": "x", "place": "node7 /copy", "since": "today"}')
    before = store.names()

    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "other"))
    copy = working_copy(studies).path
    (told,) = plan_storage(tmp_path / "shards", copy / "joint")

    assert told["address"] == f"{studies}/joint"
    assert (told["problem"], told["study"]["num_complete"]) == (None, 6)
    assert told["study"]["searched_by"] == "node7 /copy, since today"
    assert store.names() == before
    (none,) = plan_storage(tmp_path / "shards", copy / "another")
    assert (none["problem"], none["study"]) == (None, None)
    assert ObjectStore(studies).folders() == ["joint"]


def test_a_bucket_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_process("lab") as url:
        for name, value in s3_environment(url).items():
            monkeypatch.setenv(name, value)
        shards = working_copy("s3://lab/shards").path
        study = working_copy("s3://lap/studies").path / "joint"
        told = {one["address"]: one["problem"] for one in plan_storage(shards, study)}

    assert told.pop("s3://lab/shards") is None
    ((address, problem),) = told.items()
    assert address == "s3://lap/studies/joint"
    assert "NO_SUCH_BUCKET" in problem
