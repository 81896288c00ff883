"""What a trial of a study in an object store leaves on its node, and what it needs from others.

What a trial needs to go on, and its checkpoints, are pushed by the process that trains it, on
whatever node. Not here: the study's own files, and what its driver fetches (``stored``).
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

from spectrum.errors import StorageError
from spectrum.search.folder import STATE_NAME
from spectrum.search.stored_parts import CHECKPOINTS_NAME, mirror_of_study, mirror_of_trial
from spectrum.storage import Following, ObjectStore

__all__ = ["StoredTrial", "UnstoredTrial", "stored_trial"]

TO_APPEAR_S: Final = 600.0

Record = TypeVar("Record")
Result = TypeVar("Result")


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
        self._states = mirror_of_trial(folder, store, STATE_NAME)
        self._checkpoints = mirror_of_trial(folder, store, CHECKPOINTS_NAME)
        self._following = Following(self._states, every_s=None)

    def begin(self, folds: Path, sha256: str) -> None:
        """Fetch the fold manifest, and the state that another node left, where they are not here.

        Checkpoints that are here are of another study, which had the name before, or are made
        again from the state.

        Parameters
        ----------
        folds : file of the fold manifest
        sha256 : its digest; a file of another is of a study that had the name before
        """
        if _sha256(folds) != sha256:
            self._fetch_folds(folds, sha256)
        self._states.catch_up(yields=True)
        if self._writes:
            shutil.rmtree(self._checkpoints.folder, ignore_errors=True)

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

    def _fetch_folds(self, folds: Path, sha256: str) -> None:
        """Fetch the fold manifest; the driver stores it when it begins, a moment ago."""
        until = time.monotonic() + TO_APPEAR_S
        mirror = mirror_of_study(folds.parent, self._store)
        while not (mirror.fetch_one(folds.name, folds) and _sha256(folds) == sha256):
            if time.monotonic() > until:
                raise StorageError(
                    f"{self._store.address} has no {folds.name} of its study {TO_APPEAR_S:g} s "
                    "after that began. See whether the driver can write there."
                )
            time.sleep(1.0)


class UnstoredTrial:
    """A trial whose folder is on a disk that all nodes share, where all stays."""

    def begin(self, folds: Path, sha256: str) -> None:
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


def _sha256(path: Path) -> str:
    """Return the digest of a file, or "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
