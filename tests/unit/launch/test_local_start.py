"""A Ray that is slow to start is begun once more, and leaves nothing behind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psutil
import pytest

from spectrum.launch.local import TOO_SLOW, begin_twice


class Starting:
    """A start of Ray that leaves a process and then fails, as often as told."""

    def __init__(self, *failures: str) -> None:
        self.failures = list(failures)
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self) -> None:
        self.processes.append(subprocess.Popen(["sleep", "60"]))
        if self.failures:
            raise Exception(self.failures.pop(0))

    def alive(self) -> list[bool]:
        return [psutil.pid_exists(process.pid) for process in self.processes]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_start_that_was_too_slow_is_made_once_more(other: subprocess.Popen[bytes]) -> None:
    start = Starting(f"The node {TOO_SLOW}.")
    begin_twice(start)
    assert start.alive() == [False, True]
    assert other.poll() is None
    start.end()


def test_a_start_that_is_too_slow_twice_is_told_and_leaves_nothing() -> None:
    start = Starting(TOO_SLOW, TOO_SLOW, TOO_SLOW)
    with pytest.raises(Exception, match=TOO_SLOW):
        begin_twice(start)
    assert start.alive() == [False, False]


def test_another_failure_is_told_at_once() -> None:
    start = Starting("AF_UNIX path too long")
    with pytest.raises(Exception, match="AF_UNIX"):
        begin_twice(start)
    assert start.alive() == [False]
