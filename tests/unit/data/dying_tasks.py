"""Tasks that end the process that works at them, and note each attempt; sent to Ray workers."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectrum.data.digests import file_state
from spectrum.data.manifest import Refusal
from spectrum.data.pieces import RunJob, RunOutcome, finish_run
from spectrum.data.voxel_digests import Look, LookJob, look_at


def die() -> None:
    """End this process as the kernel does that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def attempts(marks: Path) -> Counter[str]:
    """Return how often each task was begun."""
    return Counter(path.name.rpartition("@")[0] for path in marks.glob("*@*"))


def mark(marks: Path, name: str) -> int:
    """Note an attempt; return how many there are by now."""
    word = name.rpartition("/")[2]
    (marks / f"{word}@{time.monotonic_ns()}-{os.getpid()}").touch()
    return attempts(marks)[word]


def make_or_die(job: RunJob, *, killers: tuple[str, ...], times: int, marks: Path) -> RunOutcome:
    """Make a run; those named die as often as told first."""
    number = mark(marks, job.name)
    if any(name in job.name for name in killers) and number <= times:
        die()
    return finish_run(job)


def make_or_refuse(job: RunJob, *, refused: tuple[str, ...], code: str, marks: Path) -> RunOutcome:
    """Make a run; those named are refused with a code."""
    mark(marks, job.name)
    if any(name in job.name for name in refused):
        return RunOutcome(refusal=Refusal(code=code, path=job.path, message="The disk stalls."))
    return finish_run(job)


def fail_for_want_of_disk(job: RunJob) -> RunOutcome:
    """Find the disk full."""
    raise OSError(errno.ENOSPC, "No space left on device", job.folder)


def look_or_die(job: LookJob, *, killers: tuple[str, ...], marks: Path) -> Look:
    """Look at an image; at those named in vain."""
    mark(marks, Path(job.path).name)
    if any(name in job.path for name in killers):
        die()
    return look_at(job)


def tell_wrong(job: LookJob, *, marks: Path) -> Look:
    """Tell digests that are not those of the image."""
    mark(marks, Path(job.path).name)
    state = file_state(Path(job.path))
    assert state is not None
    return Look(path=job.path, digest=(*state, "f" * 64), voxels="e" * 64)


@contextmanager
def _working(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock that the kernel lets go of when this process ends."""
    with (folder / f"{name}.work").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _num_at_work(folder: Path) -> int:
    number = 0
    for path in folder.glob("*.work"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                number += 1
    return number


def die_among_others(job: str, *, folder: Path, killers: tuple[str, ...]) -> str:
    """Work for a moment; those named note how many were at work, themselves too, and die."""
    with _working(folder, job):
        number = mark(folder, job)
        time.sleep(0.3)
        if job in killers:
            (folder / f"{job}-{number}.beside").write_text(str(_num_at_work(folder)))
            die()
    return f"{job} is done"
