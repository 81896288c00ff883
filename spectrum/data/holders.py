"""Which shard sets running studies use, so that nobody else removes them.

A study that runs holds every set that one of its trials opened, until it ends: a folder beside the
sets names them and the process, and a thread touches it while the study lives and makes it again
where it was removed. On the machine of the process it is asked whether that lives; elsewhere only
time tells. Not here: what is removed, and when (``store``).
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from spectrum.config.files import parse_json
from spectrum.owners import Owner, this_process

__all__ = ["held_sets", "holding", "mark_held", "remove_dead_holders"]

FOLDER: Final = ".holders"
ALIVE: Final = ".alive"

BEAT_S: Final = 20.0
STALE_S: Final = 1800.0
"""A holder of another machine that was not touched for so long was killed. Clocks differ, and
disks and machines stall for minutes; a set that stays too long costs only room."""

Clock = Callable[[], float]


@contextmanager
def holding(root: Path, study: str, *, beat_s: float = BEAT_S) -> Iterator[str]:
    """Hold sets for a study; yields the holder's name, which its trials give to ``mark_held``.

    Parameters
    ----------
    root : folder of all shard sets; made where it is not there
    study : name of the study, for people
    beat_s : seconds between two signs of life, > 0

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    holder = f"{study}~{uuid.uuid4().hex[:8]}"
    folder = root / FOLDER / holder
    _make(folder, ())
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(folder, done, beat_s), daemon=True)
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
    """Return the study that holds each set, by the set's name; nothing is changed.

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
            found.update(dict.fromkeys(_marks(folder), study))
    return found


def remove_dead_holders(root: Path, *, clock: Clock = time.time) -> None:
    """Remove what killed studies left.

    Parameters
    ----------
    root : folder of all shard sets
    clock : seconds since the epoch
    """
    for folder in (root / FOLDER).glob("*~*"):
        if not _is_alive(folder, clock()):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(folder: Path, now_s: float) -> bool:
    owner = _owner(folder)
    if owner is not None and owner.is_here:
        return not owner.is_gone
    for path in (folder / ALIVE, folder):
        with suppress(OSError):
            return now_s - path.stat().st_mtime <= STALE_S
    return False


def _owner(folder: Path) -> Owner | None:
    try:
        told = parse_json((folder / ALIVE).read_text(encoding="utf-8"))
        return Owner(
            machine=str(told["machine"]), pid=int(told["pid"]), started=int(told["started"])
        )
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _marks(folder: Path) -> set[str]:
    """Return the names of the sets that a holder holds; none where it is just removed."""
    with suppress(OSError):
        return {path.name for path in folder.iterdir() if path.name != ALIVE}
    return set()


def _make(folder: Path, marks: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in marks:
        (folder / name).touch()
    (folder / ALIVE).write_text(json.dumps(asdict(this_process())), encoding="utf-8")


def _beat(folder: Path, done: threading.Event, every_s: float) -> None:
    marks: set[str] = set()
    while not done.wait(every_s):
        with suppress(OSError):
            marks |= _marks(folder)
            try:
                os.utime(folder / ALIVE)
            except FileNotFoundError:
                _make(folder, marks)
