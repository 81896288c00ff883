"""Which shard sets running studies use, so that nobody else removes them.

A study that runs holds every set that one of its trials opened, until it ends: a folder beside the
sets names them, and a thread touches it while the study lives. Not here: what is removed, and when
(``store``).
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["held_sets", "holding", "mark_held"]

FOLDER: Final = ".holders"
ALIVE: Final = ".alive"

BEAT_S: Final = 20.0
STALE_S: Final = 180.0
"""A holder that was not touched for so long was killed."""

Clock = Callable[[], float]


@contextmanager
def holding(root: Path, study: str) -> Iterator[str]:
    """Hold sets for a study; yields the holder's name, which its trials give to ``mark_held``.

    Parameters
    ----------
    root : folder of all shard sets; made where it is not there
    study : name of the study, for people
    """
    holder = f"{study}~{uuid.uuid4().hex[:8]}"
    folder = root / FOLDER / holder
    folder.mkdir(parents=True)
    (folder / ALIVE).touch()
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder / ALIVE, done), daemon=True)
    beat.start()
    try:
        yield holder
    finally:
        done.set()
        beat.join()
        shutil.rmtree(folder, ignore_errors=True)


def mark_held(root: Path, holder: str, folder: Path) -> None:
    """Note that a study uses a set; nothing where the study has ended."""
    with suppress(OSError):
        (root / FOLDER / holder / folder.name).touch()


def held_sets(root: Path, *, besides: str = "", clock: Clock = time.time) -> dict[str, str]:
    """Return the study that holds each set, by the set's name.

    Parameters
    ----------
    root : folder of all shard sets
    besides : holder that does not count
    clock : seconds since the epoch
    """
    found = {}
    for folder in sorted((root / FOLDER).glob("*~*")):
        if folder.name != besides and _is_alive(folder, clock()):
            study = folder.name.rpartition("~")[0]
            found.update({path.name: study for path in folder.iterdir() if path.name != ALIVE})
    return found


def _is_alive(folder: Path, now_s: float) -> bool:
    """Return whether a holder lives; what a killed one left is removed."""
    try:
        is_alive = now_s - (folder / ALIVE).stat().st_mtime <= STALE_S
    except OSError:
        return False
    if not is_alive:
        shutil.rmtree(folder, ignore_errors=True)
    return is_alive


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        with suppress(OSError):
            os.utime(path)
