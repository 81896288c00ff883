"""A study in an object store: caught up with before it goes on, followed while it runs.

The study's own files are one mirror, which the driver pushes: journal and lines are read at one
moment, so that a generation agrees with itself. What a trial needs to go on, and its checkpoints,
are mirrors of their own, which the process that trains it pushes, on whatever node. Ray's files,
locks, and the marks of what Aim has are of one machine and stay there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from spectrum.errors import SpectrumError, StorageError
from spectrum.search.folder import BOOK_OF_MIRROR, STATE_NAME, StudyFolder
from spectrum.search.locks import lock_held
from spectrum.storage import (
    LATEST_NAME,
    Beside,
    Following,
    Lease,
    Mirror,
    ObjectStore,
    address_of,
    working_copy,
)

__all__ = [
    "CHECKPOINTS_NAME",
    "StoredTrial",
    "fetch_study",
    "is_of_one_machine",
    "push_study",
    "remove_stored",
    "stored_studies",
    "stored_study",
    "stored_trial",
]

CHECKPOINTS_NAME: Final = "checkpoints"
TRIALS: Final = "trials"
TOGETHER: Final = ("optuna.journal", "trials.jsonl")

CLOSING_S: Final = 120.0
"""Seconds for which a store may be away when a study ends; Slurm gives about so long to end."""

TIDIED_EVERY_S: Final = 10.0

TO_APPEAR_S: Final = 600.0

Record = TypeVar("Record")
Result = TypeVar("Result")


def is_of_one_machine(path: str) -> bool:
    """Return whether a file of a study is of this machine alone, or stored with its trial."""
    parts = path.split("/")
    if (
        parts[0] in ("aim", "ray")
        or path.endswith(".lock")
        or any(p.startswith(".") for p in parts)
    ):
        return True
    return parts[0] == TRIALS and len(parts) > 3 and parts[2] in (STATE_NAME, CHECKPOINTS_NAME)


@contextmanager
def stored_study(study: StudyFolder, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep a study the same as its address while it runs; do nothing where it has none.

    Parameters
    ----------
    study : not locked by the caller
    tell : told in the end what could not be stored, in a sentence

    Raises
    ------
    StorageError
        Another machine works on it, or both have gone on; or the store does not answer.
    """
    address = address_of(study.path)
    if address is None:
        yield
        return
    store = ObjectStore(address)
    study.path.parent.mkdir(parents=True, exist_ok=True)
    own = study.path.with_name(f".{study.path.name}.stored")
    own.touch()
    with (
        lock_held(
            own,
            taken=f"Another search works on {study.path}",
            remedy="Wait for it, or give this one another name.",
        ),
        Lease(store, place=str(study.path)).held(),
    ):
        mirror = _mirror(study.path, store)
        mirror.catch_up()
        mirror.sweep()
        following, trials = Following(mirror), _Trials(study, store.with_patience(CLOSING_S))
        study.keep_trials_with(trials)
        tidying = Beside(trials.tidy, every_s=TIDIED_EVERY_S)
        following.start()
        tidying.start()
        try:
            yield
        finally:
            tidying.stop()
            trouble = trials.settle() or following.close(patience_s=CLOSING_S)
            if trouble:
                tell(f"{trouble} {study.path} is complete; --resume stores what is not.")


def fetch_study(folder: Path, address: str) -> bool:
    """Fetch a study and its checkpoints where another machine went on; return whether it is there.

    Parameters
    ----------
    folder : of its working copy
    """
    store = ObjectStore(address)
    mirror = _mirror(folder, store)
    if not mirror.has_latest:
        return False
    mirror.catch_up()
    _Trials(StudyFolder(folder), store).fetch_all()
    return True


def push_study(folder: Path, address: str) -> None:
    """Store what a command has added to a study; do nothing where it has not."""
    store = ObjectStore(address)
    mirror = _mirror(folder, store)
    if not mirror.is_pushed:
        with Lease(store, place=str(folder)).held():
            mirror.push()


def stored_studies(address: str) -> list[str]:
    """Return the names of the studies below an address, and fetch those to its working copy."""
    copy = working_copy(address)
    return [
        name
        for name in ObjectStore(address).folders()
        if fetch_study(copy.path / name, f"{copy.address}/{name}")
    ]


def remove_stored(address: str) -> None:
    """Remove a study from its store; what names its files goes first."""
    store = ObjectStore(address)
    with Lease(store, place="removal").held():
        for name in (LATEST_NAME, *store.names()):
            store.remove(name)


class StoredTrial:
    """What a trial leaves on its node, kept in the study's store.

    Parameters
    ----------
    folder : of the trial, on this node
    store : of the study
    writes : whether this process is the one of the trial's that stores
    """

    def __init__(self, folder: Path, store: ObjectStore, *, writes: bool) -> None:
        self._folder, self._store, self._writes = folder, store, writes
        self._states = _part_of(folder, store, STATE_NAME)
        self._checkpoints = _part_of(folder, store, CHECKPOINTS_NAME)
        self._following = Following(self._states, every_s=None)

    def begin(self, folds: Path) -> None:
        """Fetch the fold manifest, and the state that another node left, where they are not here.

        Parameters
        ----------
        folds : file of the fold manifest
        """
        if not folds.is_file():
            self._fetch_folds(folds)
        self._states.catch_up(yields=True)

    def followed(
        self, fitting: Generator[Record, None, Result]
    ) -> Generator[Record, None, tuple[Result, str]]:
        """Run a fit, and store its state after each epoch, beside it, and then its checkpoints.

        Returns
        -------
        result, trouble : of the fit; why its checkpoints could not be stored, or ""
        """
        if not self._writes:
            return (yield from fitting), ""
        self._following.start()
        try:
            result = yield from self._poking(fitting)
        finally:
            self._following.stop()
        return result, self._keep_checkpoints()

    def _poking(self, fitting: Generator[Record, None, Result]) -> Generator[Record, None, Result]:
        with closing(fitting):
            while True:
                try:
                    record = next(fitting)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                self._following.poke()
                yield record

    def _keep_checkpoints(self) -> str:
        try:
            self._checkpoints.push(anew=True)
        except StorageError as err:
            return f"Checkpoints of a trial are in {self._checkpoints.folder} alone. {err}"
        return ""

    def _fetch_folds(self, folds: Path) -> None:
        """Fetch the fold manifest; the driver stores it when it begins, a moment ago."""
        until = time.monotonic() + TO_APPEAR_S
        while not _mirror(folds.parent, self._store).fetch_one(folds.name, folds):
            if time.monotonic() > until:
                raise StorageError(
                    f"{self._store.address} has no {folds.name} {TO_APPEAR_S:g} s after its study "
                    "began. See whether the driver can write there."
                )
            time.sleep(1.0)


class UnstoredTrial:
    """A trial whose folder is on a disk that all nodes share, where all stays."""

    def begin(self, folds: Path) -> None:
        """Do nothing."""

    def followed(
        self, fitting: Generator[Record, None, Result]
    ) -> Generator[Record, None, tuple[Result, str]]:
        """Run a fit."""
        return (yield from fitting), ""


def stored_trial(folder: Path, study_at: str, *, writes: bool) -> StoredTrial | UnstoredTrial:
    """Return what keeps a trial, whose study has an address, or "" where it has none."""
    if not study_at:
        return UnstoredTrial()
    return StoredTrial(folder, ObjectStore(study_at), writes=writes)


class _Trials:
    """What the driver does with the mirrors of trials."""

    def __init__(self, study: StudyFolder, store: ObjectStore) -> None:
        self._study, self._store = study, store
        self._ended: deque[int] = deque()

    def fetch(self, number: int) -> None:
        """Fetch the checkpoints of a trial that another node has trained."""
        _part_of(self._study.trial(number), self._store, CHECKPOINTS_NAME).catch_up(yields=True)

    def forget(self, number: int) -> None:
        """Have the state of a trial that has ended removed, when the store is asked next."""
        self._ended.append(number)

    def tidy(self) -> None:
        """Remove the states of trials that have ended."""
        brief = self._store.with_patience(0.0)
        while self._ended:
            part = brief.under(f"{TRIALS}/{self._ended[0]}/{STATE_NAME}")
            for name in part.names():
                part.remove(name)
            self._ended.popleft()

    def fetch_all(self) -> None:
        """Fetch all checkpoints that are stored and not here."""
        for number, part in sorted(self._stored()):
            if part == CHECKPOINTS_NAME and number.isdecimal():
                self.fetch(int(number))

    def settle(self) -> str:
        """Fetch checkpoints, and remove states that no trial needs; return why not, or ""."""
        try:
            self.fetch_all()
            stored = self._stored()
            ended = self._study.read_trials()
            self._ended.extend(number for number in ended if (str(number), STATE_NAME) in stored)
            self.tidy()
        except SpectrumError as err:
            return str(err)
        return ""

    def _stored(self) -> set[tuple[str, ...]]:
        """Return number and part of what is stored of trials."""
        return {tuple(name.split("/")[1:3]) for name in self._store.names(TRIALS)}


def _mirror(folder: Path, store: ObjectStore) -> Mirror:
    return Mirror(folder, store, skips=is_of_one_machine, together=TOGETHER)


def _part_of(folder: Path, store: ObjectStore, name: str) -> Mirror:
    return Mirror(
        folder / name,
        store.under(f"{TRIALS}/{folder.name}/{name}"),
        book=folder / f"{BOOK_OF_MIRROR}{name}.json",
    )
