"""Locks between processes: the kernel's, held by one, and gone with it however it ends.

Who holds a lock is written in its file. Not here: what is locked.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from spectrum.config.files import parse_json
from spectrum.errors import SearchError

__all__ = ["is_held", "lock_held", "lock_waited_for"]

PATIENCE_S: Final = 0.5
"""A reader that looks whether a lock is held holds it for an instant."""

PAUSE_S: Final = 0.02
"""Pause between two tries."""


@contextmanager
def lock_held(path: Path, *, taken: str, remedy: str) -> Iterator[None]:
    """Hold a lock for this process.

    Parameters
    ----------
    path : of its file, whose folder is there
    taken : what somebody else does who has it, as the beginning of a sentence
    remedy : what to do then

    Raises
    ------
    SearchError
        Another process has it.
    """
    with path.open("a+", encoding="utf-8") as file:
        if not _is_taken(file):
            raise SearchError(f"{taken}{_owner(file)}. {remedy}")
        file.truncate(0)
        file.write(json.dumps(_this_process()))
        file.flush()
        yield


@contextmanager
def lock_waited_for(path: Path) -> Iterator[None]:
    """Hold a lock for this process, however long another has it."""
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Return whether some process holds a lock now."""
    if not path.is_file():
        return False
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _is_taken(file: TextIO) -> bool:
    """Take a lock, with patience for readers; return whether it is ours."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE_S)
        else:
            return True


def _this_process() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _owner(file: TextIO) -> str:
    """Say who holds a lock, as far as its file tells."""
    file.seek(0)
    try:
        told = parse_json(file.read())
        return f" (process {told['pid']} on {told['host']}, since {told['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
