"""Single flight: one makes, the others wait; a lock without an owner does not stop anyone."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from spectrum.data.single_flight import single_flight


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


def _write_lock(path: Path, *, pid: int, host: str) -> None:
    path.write_text(json.dumps({"token": "old", "pid": pid, "host": host}), encoding="utf-8")


def test_a_lock_of_a_dead_process_is_broken_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _write_lock(tmp_path / "lock", pid=dead.pid, host=socket.gethostname())
    begin = time.monotonic()
    with single_flight(tmp_path / "lock"):
        assert json.loads((tmp_path / "lock").read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert time.monotonic() - begin < 5
    assert not list(tmp_path.iterdir())


def test_a_lock_from_elsewhere_is_broken_only_when_nobody_touches_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    _write_lock(lock, pid=1, host="another-machine")
    stop = threading.Event()

    def touch() -> None:
        while not stop.wait(0.1):
            os.utime(lock)

    owner = threading.Thread(target=touch)
    owner.start()
    held: list[float] = []
    begin = time.monotonic()

    def wait() -> None:
        with single_flight(lock, stale_s=0.8):
            held.append(time.monotonic() - begin)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(2.0)
    assert not held
    stop.set()
    owner.join()
    waiter.join()
    assert 2.0 < held[0] < 8.0
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
        time.sleep(0.5)
        assert lock.stat().st_mtime_ns > first
