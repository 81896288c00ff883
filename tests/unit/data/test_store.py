import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.holders import (
    STALE_S,
    held_sets,
    holding,
    mark_held,
    remove_dead_holders,
)
from spectrum.data.store import (
    IN_USE_S,
    LEFTOVER_S,
    evictions,
    list_sets,
    mark_used,
    prune_sets,
    prune_spatial,
    spatial_bytes,
)
from spectrum.owners import Owner, this_process

NOW_S = 1_000_000.0


def clock() -> float:
    return NOW_S


def planted(root: Path, name: str, *, num_bytes: int, age_s: float) -> Path:
    """Write a set of one file that was used some time ago; its manifest weighs two bytes."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "sub-01.parquet").write_bytes(b"x" * (num_bytes - 2))
    mark_used(folder, clock=lambda: NOW_S - age_s)
    return folder


def names(root: Path) -> list[str]:
    beside = {".used", ".holders", "evictions.jsonl"}
    return sorted(path.name for path in root.iterdir() if path.name not in beside)


def test_sets_are_listed_by_last_use_with_their_bytes(tmp_path: Path) -> None:
    planted(tmp_path, "old", num_bytes=40, age_s=900)
    planted(tmp_path, "new", num_bytes=70, age_s=5)
    (tmp_path / ".pieces-x").mkdir()
    (tmp_path / "digests.json").write_text("{}")
    found = list_sets(tmp_path)
    assert [(s.path.name, s.num_bytes) for s in found] == [("new", 70), ("old", 40)]
    assert found[1].used_s == pytest.approx(NOW_S - 900)
    assert found[0].recipe is None


def test_to_list_sets_is_not_to_use_them(tmp_path: Path) -> None:
    planted(tmp_path, "a", num_bytes=10, age_s=90_000)
    assert list_sets(tmp_path) == list_sets(tmp_path)
    assert list_sets(tmp_path)[0].used_s == pytest.approx(NOW_S - 90_000)


def test_a_set_that_was_never_opened_was_used_when_it_was_made(tmp_path: Path) -> None:
    folder = planted(tmp_path, "a", num_bytes=10, age_s=0)
    (tmp_path / ".used" / "a").unlink()
    os.utime(folder / "manifest.json", (5.0, 5.0))
    assert list_sets(tmp_path)[0].used_s == 5.0


sets = st.lists(st.tuples(st.integers(2, 50), st.integers(0, 600)), max_size=6)


@given(sets, st.integers(0, 200), st.integers(0, 5))
def test_what_was_used_last_stays_and_the_rest_fits_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    budget_bytes: int,
    kept_index: int,
) -> None:
    root = tmp_path_factory.mktemp("shards")
    folders = [
        planted(root, f"set{index}", num_bytes=size, age_s=age)
        for index, (size, age) in enumerate(sizes)
    ]
    keep = folders[kept_index : kept_index + 1]
    told = prune_sets(root, budget_bytes=budget_bytes, keep=keep, dry_run=True, clock=clock)
    assert len(names(root)) == len(sizes)
    pruned = prune_sets(root, budget_bytes=budget_bytes, keep=keep, clock=clock)
    assert told == pruned
    assert names(root) == sorted(stored.path.name for stored in pruned.kept)
    assert all(path.is_dir() for path in keep)
    assert all(NOW_S - stored.used_s > IN_USE_S for stored in pruned.removed)
    oldest_kept = [s for s in pruned.kept if NOW_S - s.used_s > IN_USE_S and s.path not in keep]
    assert pruned.bytes_after <= budget_bytes or not oldest_kept
    assert pruned.bytes_before == sum(size for size, _ in sizes)
    for gone in pruned.removed:
        assert all(stored.used_s >= gone.used_s for stored in oldest_kept)


def test_files_that_sets_share_count_once(tmp_path: Path) -> None:
    first = planted(tmp_path, "first", num_bytes=102, age_s=900)
    second = planted(tmp_path, "second", num_bytes=3, age_s=800)
    os.link(first / "sub-01.parquet", second / "shared.parquet")
    pruned = prune_sets(tmp_path, budget_bytes=105, clock=clock)
    assert (pruned.bytes_before, pruned.removed) == (105, ())
    pruned = prune_sets(tmp_path, budget_bytes=104, clock=clock)
    assert [stored.path.name for stored in pruned.removed] == ["first"]
    assert (second / "shared.parquet").read_bytes() == b"x" * 100


def test_a_set_that_a_running_study_uses_stays_for_all_but_that_study(tmp_path: Path) -> None:
    ours = planted(tmp_path, "ours", num_bytes=20, age_s=900)
    planted(tmp_path, "free", num_bytes=30, age_s=800)
    with holding(tmp_path, "night") as holder:
        mark_held(tmp_path, holder, ours)
        assert held_sets(tmp_path) == {"ours": "night"}
        pruned = prune_sets(tmp_path, budget_bytes=0, by="another study")
        assert [stored.path.name for stored in pruned.removed] == ["free"]
        assert dict(pruned.held) == {"ours": "night"}
        assert names(tmp_path) == ["ours"]
        told = prune_sets(tmp_path, budget_bytes=0, by=holder, dry_run=True)
        assert [stored.path.name for stored in told.removed] == ["ours"]
    assert held_sets(tmp_path) == {}
    prune_sets(tmp_path, budget_bytes=0)
    assert names(tmp_path) == []


def _owned_by(root: Path, holder: str, owner: Owner) -> float:
    """Give a holder to another process; return when it was touched last."""
    alive = root / ".holders" / holder / ".alive"
    alive.write_text(json.dumps(asdict(owner)))
    return alive.stat().st_mtime


def _dead() -> Owner:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return replace(this_process(), pid=process.pid, started=0)


def test_a_study_of_this_machine_holds_as_long_as_its_process_lives_whatever_the_clock(
    tmp_path: Path,
) -> None:
    with holding(tmp_path, "night") as holder:
        mark_held(tmp_path, holder, planted(tmp_path, "a", num_bytes=20, age_s=900))
        for now_s in (0.0, time.time() + 1e9):
            pruned = prune_sets(tmp_path, budget_bytes=0, clock=lambda now_s=now_s: now_s)
            assert dict(pruned.held) == {"a": "night"}
        _owned_by(tmp_path, holder, _dead())
        assert held_sets(tmp_path) == {}
        prune_sets(tmp_path, budget_bytes=0, dry_run=True)
        assert (tmp_path / ".holders" / holder / "a").is_file()
        prune_sets(tmp_path, budget_bytes=0)
        assert not (tmp_path / ".holders" / holder).exists()
        assert names(tmp_path) == []


def test_a_study_of_another_machine_holds_until_it_gave_no_sign_for_many_minutes(
    tmp_path: Path,
) -> None:
    with holding(tmp_path, "elsewhere") as holder:
        mark_held(tmp_path, holder, tmp_path / "a")
        alive_s = _owned_by(tmp_path, holder, replace(_dead(), machine="0" * 12))
        assert held_sets(tmp_path, clock=lambda: alive_s + STALE_S) == {"a": "elsewhere"}
        assert held_sets(tmp_path, clock=lambda: alive_s + STALE_S + 1) == {}
        assert held_sets(tmp_path, clock=lambda: alive_s) == {"a": "elsewhere"}, "only looked at"
        remove_dead_holders(tmp_path, clock=lambda: alive_s + STALE_S + 1)
        assert held_sets(tmp_path, clock=lambda: alive_s) == {}
    mark_held(tmp_path, holder, tmp_path / "a")
    assert held_sets(tmp_path) == {}


def test_a_hold_that_was_taken_away_from_a_study_that_lives_comes_back_with_its_sets(
    tmp_path: Path,
) -> None:
    with holding(tmp_path, "night", beat_s=0.02) as holder:
        folder = tmp_path / ".holders" / holder
        mark_held(tmp_path, holder, tmp_path / "a")
        before = (folder / ".alive").stat().st_mtime_ns
        for _ in range(2):
            while (folder / ".alive").stat().st_mtime_ns == before:
                time.sleep(0.01)
            before = (folder / ".alive").stat().st_mtime_ns
        shutil.rmtree(folder)
        while held_sets(tmp_path) != {"a": "night"}:
            time.sleep(0.01)
    assert held_sets(tmp_path) == {}
    assert not folder.exists()


def test_every_removal_is_on_record_with_who_asked_for_it(tmp_path: Path) -> None:
    planted(tmp_path, "a", num_bytes=20, age_s=900)
    planted(tmp_path, "b", num_bytes=30, age_s=800)
    prune_sets(tmp_path, budget_bytes=40, by="study~1", dry_run=True, clock=clock)
    assert evictions(tmp_path, by="study~1") == ()
    prune_sets(tmp_path, budget_bytes=40, by="study~1", clock=clock)
    with (tmp_path / "evictions.jsonl").open("a") as file:
        file.write('{"set": "torn')
    (told,) = evictions(tmp_path, by="study~1")
    assert (told["set"], told["num_bytes"]) == ("a", 20)
    assert told["time"] == "1970-01-12T13:46:40+00:00"
    assert evictions(tmp_path, by="study~2") == ()


def test_a_folder_without_sets_is_empty(tmp_path: Path) -> None:
    assert list_sets(tmp_path / "absent") == ()
    assert prune_sets(tmp_path, budget_bytes=0, clock=clock).removed == ()


def test_many_may_list_prune_and_make_at_once(tmp_path: Path) -> None:
    made, stop = [0], threading.Event()

    def make() -> None:
        try:
            for number in range(300):
                aside = planted(tmp_path, f".aside-{number}", num_bytes=20, age_s=900)
                shutil.copy(aside / "sub-01.parquet", aside / "sub-02.parquet")
                mark_used(tmp_path / f"set{number % 7}", clock=lambda: NOW_S - 900)
                try:
                    aside.rename(tmp_path / f"set{number % 7}")
                    made[0] += 1
                except OSError:
                    shutil.rmtree(aside)
        finally:
            stop.set()

    def prune() -> list[str]:
        removed = []
        while not stop.is_set():
            list_sets(tmp_path)
            pruned = prune_sets(tmp_path, budget_bytes=0, clock=clock)
            removed += [stored.path.name for stored in pruned.removed]
        return removed

    with ThreadPoolExecutor(4) as pool:
        pruners = [pool.submit(prune) for _ in range(3)]
        pool.submit(make).result()
        removed = [name for pruner in pruners for name in pruner.result()]
    left = list_sets(tmp_path)
    assert made[0] == len(removed) + len(left), "each set goes once, or is still there"
    assert made[0] > 7
    assert all(name.startswith("set") for name in removed)


def test_a_set_that_is_opened_after_it_was_listed_stays_and_is_told_as_kept(
    tmp_path: Path,
) -> None:
    folder = planted(tmp_path, "a", num_bytes=10, age_s=900)
    planted(tmp_path, "b", num_bytes=20, age_s=800)

    def clock_and_open() -> float:
        mark_used(folder, clock=clock)
        return NOW_S

    pruned = prune_sets(tmp_path, budget_bytes=0, clock=clock_and_open)
    assert [stored.path.name for stored in pruned.removed] == ["b"]
    assert [stored.path.name for stored in pruned.kept] == ["a"]
    assert (pruned.bytes_before, pruned.bytes_after) == (30, 10)
    assert names(tmp_path) == ["a"]


def test_a_set_in_the_making_is_no_set_and_stays_unless_nobody_touched_it_for_a_day(
    tmp_path: Path,
) -> None:
    for name in (".aside-new", ".aside-written-to", ".aside-old", ".evicted-old"):
        planted(tmp_path, name, num_bytes=10, age_s=0)
    old_s = NOW_S - LEFTOVER_S - 1
    for path in tmp_path.rglob("*"):
        os.utime(path, (old_s, old_s))
    os.utime(tmp_path / ".aside-new", (NOW_S, NOW_S))
    os.utime(tmp_path / ".aside-written-to" / "sub-01.parquet", (NOW_S, NOW_S))
    assert list_sets(tmp_path) == ()
    prune_sets(tmp_path, budget_bytes=0, dry_run=True, clock=clock)
    assert len(names(tmp_path)) == 4
    pruned = prune_sets(tmp_path, budget_bytes=0, clock=clock)
    assert (pruned.removed, pruned.kept) == ((), ())
    assert names(tmp_path) == [".aside-new", ".aside-written-to"]


def test_spatial_parts_are_counted_and_go_when_they_were_not_used_for_long(
    tmp_path: Path,
) -> None:
    assert spatial_bytes(tmp_path) == (0, 0)
    ages_s = {"ab/ab1.safetensors": 50, "ab/ab2.safetensors": 101, "cd/cd.safetensors": 10**5}
    others = {"ab/.ab3.safetensors.0f": 10**5, "ab/.ab4.safetensors.0f": 101, "cd/cd.lock": 10**5}
    for number, (name, age_s) in enumerate({**ages_s, **others}.items(), start=1):
        path = tmp_path / ".spatial" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
        os.utime(path, (NOW_S, NOW_S - age_s))
    assert spatial_bytes(tmp_path) == (3, 6)
    assert prune_spatial(tmp_path, unused_s=100, clock=clock, dry_run=True) == (2, 5)
    assert spatial_bytes(tmp_path) == (3, 6)
    assert prune_spatial(tmp_path, unused_s=100, clock=clock) == (2, 5)
    assert spatial_bytes(tmp_path) == (1, 1)
    left = {path.name for path in (tmp_path / ".spatial").rglob("*") if path.is_file()}
    assert left == {"ab1.safetensors", ".ab4.safetensors.0f", "cd.lock"}
    assert prune_spatial(tmp_path, unused_s=100, clock=clock) == (0, 0)
