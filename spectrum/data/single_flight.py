"""Single flight: of all processes that want the same thing made, one makes it, the others wait.

A lock file, made exclusively, names its owner; a thread touches it while the owner lives. A lock
whose owner is gone is broken. Two owners at once, which no lock file on a shared disk can rule
out, must do no harm: what is guarded here is written aside and renamed. Not here: what is made.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from spectrum.config.files import parse_json
from spectrum.owners import Owner, aside_path, remove_abandoned, this_process

__all__ = ["remove_abandoned_lock", "single_flight"]

SHORTEST_POLL_S: Final = 0.01
LONGEST_POLL_S: Final = 0.2
"""Who waits looks often after a lock has changed hands, since the next owners only look at what
the first has made, and ever more rarely while it stays in one hand."""

STALE_S: Final = 60.0
"""A lock that is not touched for so long, by the waiter's own clock, has no owner any more."""


@contextmanager
def single_flight(
    path: Path, *, stale_s: float = STALE_S, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Hold the lock at ``path``; wait until the one who holds it is done or gone.

    Parameters
    ----------
    path : the lock file, in a folder that exists
    stale_s : seconds without a sign of life, > 0
        For owners on other machines; on this one it is asked whether the process lives.
    clock : seconds that never go back

    Raises
    ------
    OSError
        The lock cannot be written, such as on a full disk; none is left then.
    """
    token = uuid.uuid4().hex
    _wait_for(path, token, stale_s, clock)
    remove_abandoned(path.parent, f".{path.name.removeprefix('.')}.*")
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, done, stale_s / 6), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        _release(path, token)


def _release(path: Path, token: str) -> None:
    """Let go of a lock, unless it was taken away and is another's by now."""
    with _alone_in(path.parent):
        if _read(path).get("token") == token:
            path.unlink(missing_ok=True)


def remove_abandoned_lock(path: Path) -> None:
    """Take away a lock that a process of this machine left behind; wait for nobody."""
    seen = _look(path, None, 0.0)
    if seen is not None and seen.is_owner_gone:
        _break(path, seen)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What a waiter saw of a lock at one look, and when it saw it first.

    A lock that is being made has no token yet.
    """

    token: str
    mtime_ns: int
    is_owner_gone: bool
    since_s: float

    def is_same(self, other: _Sight) -> bool:
        """Return whether nobody has made or touched the lock between two looks."""
        return (self.token, self.mtime_ns) == (other.token, other.mtime_ns)


def _wait_for(path: Path, token: str, stale_s: float, clock: Callable[[], float]) -> None:
    seen: _Sight | None = None
    poll_s = SHORTEST_POLL_S
    while not _is_created(path, token):
        before, seen = seen, _look(path, seen, clock())
        if seen is not None and (seen.is_owner_gone or clock() - seen.since_s > stale_s):
            _break(path, seen)
            continue
        is_same = before is not None and seen is not None and before.token == seen.token
        poll_s = min(2 * poll_s, LONGEST_POLL_S) if is_same else SHORTEST_POLL_S
        time.sleep(poll_s)


def _is_created(path: Path, token: str) -> bool:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"token": token, **asdict(this_process())}, file)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return True


def _look(path: Path, seen: _Sight | None, now_s: float) -> _Sight | None:
    try:
        mtime_ns = path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    told = _read(path)
    found = _Sight(str(told.get("token", "")), mtime_ns, _is_owner_gone(told), now_s)
    is_same = seen is not None and seen.is_same(found)
    return replace(found, since_s=seen.since_s) if seen is not None and is_same else found


def _is_owner_gone(told: Mapping[str, Any]) -> bool:
    try:
        owner = Owner(
            machine=str(told["machine"]), pid=int(told["pid"]), started=int(told["started"])
        )
    except (KeyError, TypeError, ValueError):
        return False
    return owner.is_gone


def _break(path: Path, seen: _Sight) -> None:
    """Take a lock away, one waiter at a time, unless it is another's by now.

    One without a token, whose owner died while he made it, is known by its time alone.

    Where the disk knows no ``flock``, two waiters may meet here; then the lock is put back where
    another has made a new one in the meantime.
    """
    with _alone_in(path.parent), suppress(OSError):
        now = _look(path, None, 0.0)
        if now is None or not seen.is_same(now):
            return
        aside = aside_path(path)
        path.rename(aside)
        if str(_read(aside).get("token", "")) != seen.token:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Be the only one in here, of all processes and threads, where the disk can tell."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _beat(path: Path, done: threading.Event, every_s: float) -> None:
    while not done.wait(every_s):
        with suppress(OSError):
            os.utime(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        owner = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}
