"""A study in an object store: caught up with before it goes on, followed while it runs.

The study's own files are one mirror, which the driver pushes: journal and lines are read at one
moment, so that a generation agrees with itself. Not here: what trials store (``stored_trials``).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from spectrum.errors import SearchError, SpectrumError, StorageError
from spectrum.search.folder import STATE_NAME, StudyFolder
from spectrum.search.locks import is_held, lock_held, lock_waited_for
from spectrum.search.stored_parts import (
    CHECKPOINTS_NAME,
    TRIALS,
    mirror_of_study,
    mirror_of_trial,
)
from spectrum.storage import (
    LATEST_NAME,
    OF_COMMAND,
    Beside,
    Following,
    Lease,
    Mirror,
    ObjectStore,
    address_of,
    working_copy,
)

__all__ = ["fetch_study", "push_study", "remove_stored", "stored_studies", "stored_study"]

CLOSING_S: Final = 120.0
"""Seconds for which a store may be away when a study ends; Slurm gives about so long to end."""

TIDIED_EVERY_S: Final = 10.0

NUM_AT_ONCE: Final = 8
"""Trials whose checkpoints are asked for at a time: a study has thousands."""

NUM_NAMES: Final = 8
"""Studies that are named where another one was asked for."""

REPORT: Final = "report/"
"""What is made anew from the rest of a study, on any machine, and may be given up."""


@contextmanager
def stored_study(
    study: StudyFolder, tell: Callable[[str], None], *, resume: bool = False
) -> Iterator[None]:
    """Keep a study the same as its address while it runs; do nothing where it has none.

    Parameters
    ----------
    study : not locked by the caller
    tell : told in the end what could not be stored, in a sentence
    resume : whether the study has to be there; nothing is written where it is not

    Raises
    ------
    SearchError
        There is no study to go on with; or another search of this machine works on it.
    StorageError
        Another machine works on it, or both have gone on; or the store does not answer.
    """
    address = address_of(study.path)
    if address is None:
        yield
        return
    store = ObjectStore(address, patience=OF_COMMAND)
    lease = Lease(store, place=str(study.path))
    with ExitStack() as held:
        held.enter_context(
            lock_held(
                _searched(study.path),
                taken=f"Another search works on {study.path}",
                remedy="Wait for it, or give this one another name.",
            )
        )
        with lock_waited_for(_fetched(study.path)):
            if resume and not study.exists:
                _check_stored(study.path, store)
            held.enter_context(lease.held())
            mirror = mirror_of_study(study.path, store, allowed=lease.check)
            _catch_up(mirror)
            mirror.sweep()
        following, trials = Following(mirror), _Trials(study, store.with_patience(CLOSING_S))
        study.keep_trials_with(trials)
        tidying = Beside(lambda: trials.tidy(following.taken_s), every_s=TIDIED_EVERY_S)
        following.start()
        tidying.start()
        try:
            yield
        finally:
            tidying.stop()
            # First what is here alone: there may be little time to end.
            trouble = following.close(patience_s=CLOSING_S) or trials.end(following.taken_s)
            if trouble:
                tell(f"{trouble} {study.path} is complete; --resume stores what is not.")


def fetch_study(folder: Path, address: str, *, checkpoints: bool = True) -> bool:
    """Fetch a study where another machine went on with it; return whether it is there.

    A study that a search of this machine works on is taken as it is here.

    Parameters
    ----------
    folder : of its working copy
    checkpoints : whether its trials' are fetched too
    """
    store = ObjectStore(address, patience=OF_COMMAND)
    with lock_waited_for(_fetched(folder)):
        if is_held(_searched(folder)):
            return folder.is_dir()
        mirror = mirror_of_study(folder, store)
        if not mirror.holds("study.json"):
            return False
        _catch_up(mirror)
        if checkpoints:
            _Trials(StudyFolder(folder), store).fetch_all()
    return True


def push_study(folder: Path, address: str) -> None:
    """Store what a command has added to a study; do nothing where it has not.

    A search of this machine that works on the study stores that too.
    """
    store = ObjectStore(address)
    with lock_waited_for(_fetched(folder)):
        if is_held(_searched(folder)):
            return
        mirror = mirror_of_study(folder, store)
        if not mirror.is_pushed:
            with Lease(store, place=str(folder.resolve())).held():
                mirror.push()


def stored_studies(address: str) -> list[str]:
    """Return the names of the studies below an address, and fetch those to its working copy."""
    copy = working_copy(address)
    return [
        name
        for name in ObjectStore(address, patience=OF_COMMAND).folders()
        if fetch_study(copy.path / name, f"{copy.address}/{name}", checkpoints=False)
    ]


def remove_stored(address: str) -> None:
    """Remove a study from its store; what names its files goes first."""
    store = ObjectStore(address, patience=OF_COMMAND)
    with Lease(store, place="removal").held():
        for name in (LATEST_NAME, *store.names()):
            store.remove(name)


class _Trials:
    """What the driver does with the mirrors of trials."""

    def __init__(self, study: StudyFolder, store: ObjectStore) -> None:
        self._study, self._store = study, store
        self._ended: deque[tuple[float, int]] = deque()

    def fetch(self, number: int) -> None:
        """Fetch the checkpoints of a trial; those that are here count where the store is away."""
        try:
            self._fetch_last(number)
        except StorageError:
            if not (self._study.trial(number) / CHECKPOINTS_NAME).is_dir():
                raise

    def forget(self, number: int) -> None:
        """Have the state of a trial that has ended removed, when the store is asked next."""
        self._ended.append((time.monotonic(), number))

    def tidy(self, taken_s: float) -> None:
        """Remove the states of trials whose ends are stored, as of a time of the clock.

        Of another trial the state is all that is left where this machine is lost.
        """
        brief = self._store.with_patience(0.0)
        while self._ended and self._ended[0][0] < taken_s:
            part = brief.under(f"{TRIALS}/{self._ended[0][1]}/{STATE_NAME}")
            for name in part.names():
                part.remove(name)
            self._ended.popleft()

    def fetch_all(self) -> None:
        """Fetch all checkpoints that are stored and not here."""
        stored = self._stored()
        numbers = [int(n) for n, part in stored if part == CHECKPOINTS_NAME and n.isdecimal()]
        with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
            for _ in pool.map(self._fetch_last, numbers):
                pass

    def end(self, taken_s: float) -> str:
        """Remove states and fetch checkpoints; return why that could not be done, or ""."""
        try:
            self._find_left()
            self.tidy(taken_s)
            self.fetch_all()
        except (SpectrumError, OSError) as err:
            return str(err)
        return ""

    def _find_left(self) -> None:
        """Find states that a kill left of trials whose end was stored by then."""
        stored, ended = self._stored(), self._study.read_trials()
        known = {number for _, number in self._ended}
        left = [n for n in ended if n not in known and (str(n), STATE_NAME) in stored]
        self._ended.extendleft((-math.inf, number) for number in left)

    def _fetch_last(self, number: int) -> None:
        mirror_of_trial(self._study.trial(number), self._store, CHECKPOINTS_NAME).catch_up(
            yields=True
        )

    def _stored(self) -> set[tuple[str, ...]]:
        """Return number and part of what is stored of trials."""
        return {tuple(name.split("/")[1:3]) for name in self._store.names(TRIALS)}


def _check_stored(folder: Path, store: ObjectStore) -> None:
    """Raise an error where a study is neither here nor in the store."""
    if mirror_of_study(folder, store).holds("study.json"):
        return
    raise SearchError(
        f"There is no study at {store.address}. Leave --resume away to begin it, or give the name "
        f"of one that was begun{_names_at(store.address.rpartition('/')[0])}."
    )


def _names_at(above: str) -> str:
    """Tell which studies are at an address; nothing where it cannot be listed."""
    try:
        names = ObjectStore(above, patience=OF_COMMAND).folders()
    except StorageError:
        # Credentials may be for one study alone.
        return ""
    told = ", ".join(names[:NUM_NAMES]) + (", ..." if len(names) > NUM_NAMES else "")
    return f" ({above} has {told or 'none'})"


def _catch_up(mirror: Mirror) -> None:
    """Catch up with other machines; a report that was made here meanwhile is no work to keep."""
    changed = mirror.changed()
    mirror.catch_up(yields=bool(changed) and all(path.startswith(REPORT) for path in changed))


def _searched(folder: Path) -> Path:
    """Return the lock of the search that works on a study of this machine."""
    return _lock_beside(folder, "stored")


def _fetched(folder: Path) -> Path:
    """Return the lock of the process that fetches or stores a study for a moment."""
    return _lock_beside(folder, "fetched")


def _lock_beside(folder: Path, name: str) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f".{folder.name}.{name}")
    lock.touch()
    return lock
