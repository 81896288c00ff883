"""Who writes what is not finished: names that tell it, and the removal of what nobody finishes.

What is half written carries the tag of its process in its name, so that a later process can tell
what was left by one that is gone from what somebody is at. Not here: locks (``single_flight``).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

__all__ = [
    "Owner",
    "aside_path",
    "folder_written_aside",
    "owner_of",
    "remove_abandoned",
    "this_process",
    "write_whole",
    "written_aside",
]

_TAG: Final = re.compile(
    r"(?P<machine>[0-9a-f]{12})\.(?P<pid>\d+)\.(?P<started>\d+)\.[0-9a-f]{12}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process: where it runs, its number there, and when it started.

    ``machine`` names host, boot and space of process numbers, so that containers of one name on
    one disk are told apart. ``started`` is in the system's ticks since boot, 0 where the system
    does not say; with it a number that was given out again is not taken for its first holder.
    """

    machine: str
    pid: int
    started: int

    @property
    def is_here(self) -> bool:
        """Whether it can be asked on this machine whether the process lives."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended; of other machines nothing is known."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        state, started = _state_of(self.pid)
        return state in ("Z", "X") or bool(self.started and started not in (0, self.started))


def this_process() -> Owner:
    """Return the process that asks."""
    pid = os.getpid()
    return Owner(machine=_machine(), pid=pid, started=_state_of(pid)[1])


def aside_path(path: Path) -> Path:
    """Return a hidden name beside a path, used by nobody else, that tells whose it is."""
    owner = this_process()
    tag = f"{owner.machine}.{owner.pid}.{owner.started}.{uuid.uuid4().hex[:12]}"
    return path.with_name(f".{path.name.removeprefix('.')}.{tag}.aside")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of ``path`` when all went well."""
    aside = aside_path(path)
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(path: Path) -> Iterator[Path]:
    """Yield a folder to make and fill, which becomes ``path``, not there yet, when all went well.

    The folder above ``path`` is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_path(path)
    try:
        yield aside
        aside.rename(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there with all its bytes or as it was before."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


def owner_of(path: Path) -> Owner | None:
    """Return who made a path of ``aside_path``; None for any other."""
    found = _TAG.search(path.name)
    if found is None:
        return None
    return Owner(machine=found["machine"], pid=int(found["pid"]), started=int(found["started"]))


def remove_abandoned(folder: Path, pattern: str = ".*") -> None:
    """Remove what processes of this machine left half written in a folder and cannot finish.

    Parameters
    ----------
    folder : is not searched below
    pattern : names that are looked at; of those only names of ``aside_path`` may go
    """
    for path in folder.glob(pattern):
        owner = owner_of(path)
        if owner is None or not owner.is_gone:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@cache
def _machine() -> str:
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
    with suppress(OSError):
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def _state_of(pid: int) -> tuple[str, int]:
    """Return the letter of a process's state and when it started; "" and 0 where it is not told.

    They are fields 3 and 22 of ``/proc/<pid>/stat`` (proc_pid_stat(5)), counted after the name,
    which may hold anything.
    """
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = raw.rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0
