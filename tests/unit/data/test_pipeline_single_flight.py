"""Single flight: one makes, the others wait; a lock without an owner does not stop anyone."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from spectrum.data.single_flight import remove_abandoned_lock, single_flight
from spectrum.owners import Owner, aside_path, this_process


def _count(folder: str, repeats: int) -> None:
    """Read, wait and write a counter under the lock; without the lock counts are lost."""
    for _ in range(repeats):
        with single_flight(Path(folder) / "lock"):
            number = int((Path(folder) / "count").read_text(encoding="utf-8"))
            time.sleep(0.02)
            (Path(folder) / "count").write_text(str(number + 1), encoding="utf-8")


def test_processes_never_hold_the_lock_together(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0", encoding="utf-8")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count, args=(str(tmp_path), 3)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "count").read_text(encoding="utf-8") == "9"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_the_lock_goes_when_its_owner_fails(tmp_path: Path) -> None:
    try:
        with single_flight(tmp_path / "lock"):
            raise KeyError
    except KeyError:
        pass
    assert not list(tmp_path.iterdir())


def _write_lock(path: Path, owner: Owner, token: str = "old") -> None:
    path.write_text(json.dumps({"token": token, **asdict(owner)}), encoding="utf-8")


def _dead() -> Owner:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return replace(this_process(), pid=process.pid, started=0)


def _token(path: Path) -> str:
    return str(json.loads(path.read_text(encoding="utf-8"))["token"])


def _standing_clock() -> float:
    """By it no lock ever grows stale, so that only what is known of its owner breaks it."""
    return 0.0


def test_a_lock_of_a_dead_process_is_broken_at_once(tmp_path: Path) -> None:
    _write_lock(tmp_path / "lock", _dead())
    with single_flight(tmp_path / "lock", clock=_standing_clock):
        assert json.loads((tmp_path / "lock").read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_lock_whose_process_number_was_given_out_again_is_broken_at_once(
    tmp_path: Path,
) -> None:
    me = this_process()
    _write_lock(tmp_path / "lock", replace(me, started=me.started - 1))
    with single_flight(tmp_path / "lock", clock=_standing_clock):
        assert _token(tmp_path / "lock") != "old"


@pytest.mark.parametrize("seed", range(5))
def test_of_many_who_break_one_lock_at_once_never_two_hold_it(tmp_path: Path, seed: int) -> None:
    """The lock is a dead one's again and again: breakers meet who has just made a new one."""
    rng = np.random.default_rng(seed)
    dead, lock = _dead(), tmp_path / "lock"
    holders: list[int] = []
    most: list[int] = []
    waits_s = rng.uniform(0.0, 0.01, size=16)
    together = threading.Barrier(16)

    def want(index: int) -> None:
        together.wait()
        time.sleep(waits_s[index])
        with single_flight(lock):
            holders.append(index)
            most.append(len(holders))
            time.sleep(waits_s[-index])
            holders.remove(index)
            if index % 2:
                _write_lock(lock, dead, token=f"left by {index}")

    _write_lock(lock, dead)
    threads = [threading.Thread(target=want, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 16
    lock.unlink(missing_ok=True)
    assert not list(tmp_path.iterdir())


def test_a_lock_from_elsewhere_is_broken_only_when_nobody_touches_it(tmp_path: Path) -> None:
    """The clock goes on by half the patience at each look; so many looks find a sign of life."""
    lock = tmp_path / "lock"
    _write_lock(lock, replace(_dead(), machine="0" * 12))
    looks = [0]

    def clock() -> float:
        looks[0] += 1
        if looks[0] <= 12:
            os.utime(lock, ns=(looks[0], looks[0]))
        assert _token(lock) == "old"
        return looks[0] * 0.5

    with single_flight(lock, stale_s=1.0, clock=clock):
        assert _token(lock) != "old"
        assert looks[0] > 12
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_written_is_not_left_behind(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(OSError, match="File too large"), single_flight(tmp_path / "lock"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_what_a_dead_breaker_took_aside_goes_with_the_next_owner(tmp_path: Path) -> None:
    mine, theirs = (aside_path(tmp_path / "lock") for _ in range(2))
    me, dead = this_process(), _dead()
    theirs = theirs.with_name(theirs.name.replace(f".{me.pid}.", f".{dead.pid}."))
    for path in (mine, theirs):
        path.touch()
    with single_flight(tmp_path / "lock"):
        assert {path.name for path in tmp_path.iterdir()} == {"lock", mine.name}


def test_only_a_lock_of_the_dead_is_taken_away_from_without(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    dead = _dead()
    for owner in (this_process(), replace(dead, machine="0" * 12)):
        _write_lock(lock, owner)
        remove_abandoned_lock(lock)
        assert lock.exists()
    _write_lock(lock, dead)
    remove_abandoned_lock(lock)
    remove_abandoned_lock(lock)
    assert not list(tmp_path.iterdir())


def test_a_torn_lock_file_is_broken_in_time(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"tok', encoding="utf-8")
    with single_flight(tmp_path / "lock", stale_s=0.5):
        pass
    assert not list(tmp_path.iterdir())


def test_an_owner_that_lives_is_seen_to_live(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with single_flight(lock, stale_s=0.6):
        first = lock.stat().st_mtime_ns
        while lock.stat().st_mtime_ns == first:
            time.sleep(0.01)
        assert lock.stat().st_mtime_ns > first
