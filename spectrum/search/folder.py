"""The folder of a study, which is its truth: manifest, journal, lines of trials, records.

Written by one driver at a time. Nothing in it is a pickle; Ray's own files lie under ``ray/`` and
may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

from spectrum.config import fingerprint
from spectrum.errors import SearchError
from spectrum.records import Prediction, TrialEpochRecord
from spectrum.search.json_lines import (
    append_line,
    cut_torn_tail,
    read_json,
    read_lines,
    read_object,
    write_json,
)
from spectrum.search.locks import is_held, lock_held
from spectrum.search.trial_json import record_from_json, record_to_json

__all__ = [
    "BOOK_OF_MIRROR",
    "SCHEMA_VERSION",
    "SECONDS_NAME",
    "STATE_NAME",
    "StudyFolder",
    "TrialStorage",
]

SCHEMA_VERSION: Final = 1
"""Version of all files of the folder."""

STATE_NAME: Final = "state"
"""Folder of a trial that holds what it needs to go on after a stop."""

RECORDS_NAME: Final = "records.jsonl"
"""File of a trial that holds its epochs, one a line."""

SECONDS_NAME: Final = "seconds.json"
"""File beside a trial's state that holds the seconds of its earlier attempts."""


BOOK_OF_MIRROR: Final = ".mirror-"
"""Files of a trial begin so that hold what this machine knows of what is stored."""


class TrialStorage(Protocol):
    """Where trials leave what they made on whatever node, when no disk is shared."""

    def fetch(self, number: int) -> None:
        """Bring the checkpoints of a trial to its folder here."""

    def forget(self, number: int) -> None:
        """Remove what an ended trial would have needed to go on."""


class StudyFolder:
    """Paths, files and lock of one study.

    Parameters
    ----------
    path : the folder; its name names the study
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._storage: TrialStorage | None = None

    def keep_trials_with(self, storage: TrialStorage) -> None:
        """Take where trials leave what they made; without it, that is in their folders here."""
        self._storage = storage

    @property
    def exists(self) -> bool:
        """Whether a study was started here: its manifest is the first thing that counts."""
        return self._manifest.is_file()

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.path / "optuna.journal"

    @property
    def ray(self) -> Path:
        """Ray Tune's own files."""
        return self.path / "ray"

    @property
    def best(self) -> Path:
        """Checkpoints and configuration of the best trial."""
        return self.path / "best"

    @property
    def folds(self) -> Path:
        """The fold manifest."""
        return self.path / "folds.json"

    @property
    def trials(self) -> Path:
        """Folder of the trials' own folders."""
        return self.path / "trials"

    @property
    def _manifest(self) -> Path:
        return self.path / "study.json"

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"

    @property
    def _lines(self) -> Path:
        return self.path / "trials.jsonl"

    def trial(self, number: int) -> Path:
        """Return the folder of one trial."""
        return self.trials / str(number)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study for this process; raise SearchError where another has it, or none can.

        The lock is the kernel's and ends with the process, however that ends. Who holds it is
        written in it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.touch()
        except OSError as err:
            raise SearchError(
                f"{self.path} cannot be written to: {err.strerror}. Give --studies a folder that "
                "can, or mend this one."
            ) from err
        with lock_held(
            self._lock,
            taken=f"Another search works on {self.path}",
            remedy="Wait for it, or give this one another name.",
        ):
            yield

    @property
    def is_locked(self) -> bool:
        """Whether a search works on the study now."""
        return is_held(self._lock)

    def repair(self) -> tuple[str, ...]:
        """Cut lines that a kill left half-written; return one sentence for each."""
        cut = {path: cut_torn_tail(path) for path in (self.journal, self._lines)}
        return tuple(
            f"{path.name} ended in a half-written line; its {num_bytes} bytes were cut."
            for path, num_bytes in cut.items()
            if num_bytes
        )

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write study.json with its digest."""
        content = {"schema": SCHEMA_VERSION, **manifest}
        content.pop("digest", None)
        write_json(self._manifest, {**content, "digest": fingerprint(content)})

    def read_manifest(self) -> dict[str, Any]:
        """Read study.json; raise SearchError where it is absent, damaged or of another schema."""
        manifest = read_object(self._manifest)
        content = {name: value for name, value in manifest.items() if name != "digest"}
        if fingerprint(content) != manifest.get("digest"):
            raise SearchError(
                f"{self._manifest} was changed or damaged: its digest does not fit. "
                "Restore the file, or search again under another name."
            )
        if content.get("schema") != SCHEMA_VERSION:
            raise SearchError(
                f"{self._manifest} has schema {content.get('schema')}, this version reads "
                f"{SCHEMA_VERSION}. Continue the study with the version that began it."
            )
        return content

    def write(self, name: str, value: Any) -> None:
        """Write a further JSON file of the study, such as floor.json."""
        write_json(self.path / name, value)

    def write_checked(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a further JSON file of the study that may change, with its digest."""
        write_json(self.path / name, {**value, "digest": fingerprint(value)})

    def read_checked(self, name: str) -> dict[str, Any]:
        """Read what ``write_checked`` wrote; raise SearchError where it is not as it was."""
        stored = read_object(self.path / name)
        content = {key: value for key, value in stored.items() if key != "digest"}
        if fingerprint(content) != stored.get("digest"):
            raise SearchError(
                f"{self.path / name} was changed or damaged: its digest does not fit. "
                "Remove the file, and make it again by the command that made it."
            )
        return content

    def digests_of(self, *names: str) -> dict[str, str]:
        """Return the digest of each of some files, for the manifest."""
        return {
            name: hashlib.sha256((self.path / name).read_bytes()).hexdigest() for name in names
        }

    def check_files(self) -> None:
        """Raise SearchError where a file that the manifest has a digest of is not as it was."""
        for name, digest in self.read_manifest().get("files", {}).items():
            path = self.path / name
            if not path.is_file() or self.digests_of(name)[name] != digest:
                raise SearchError(
                    f"{path} was changed, damaged or removed: it does not have the digest in "
                    "study.json. Restore the file, or search again under another name."
                )

    def has(self, name: str) -> bool:
        """Return whether a further file of the study is there."""
        return (self.path / name).is_file()

    def read(self, name: str) -> Any:
        """Read a further JSON file of the study."""
        return read_json(self.path / name)

    def read_trials(self) -> dict[int, dict[str, Any]]:
        """Return the lines of ended trials and re-runs by number, in the order they ended."""
        lines = read_lines(self._lines, signed=True)
        by_number = {line["number"]: line for line in lines}
        if len(by_number) < len(lines):
            raise SearchError(
                f"{self._lines} names a trial twice. Restore the file; it is written by one "
                "search at a time and never twice for a trial."
            )
        return by_number

    def append_trial(self, line: Mapping[str, Any]) -> None:
        """Append the line of a trial that ended, and wait until it is on disk."""
        append_line(self._lines, line)

    def begin_records(self, number: int) -> float:
        """Make the folder of a trial and forget what unfinished attempts told, but their seconds.

        Their state stays: the trial goes on from it, and tells again what was told. Returns the
        seconds that they took up to their last epochs.
        """
        folder = self.trial(number)
        folder.mkdir(parents=True, exist_ok=True)
        seconds = self._seconds_before(number)
        if seconds:
            write_json(folder / STATE_NAME / SECONDS_NAME, {"seconds": seconds})
        for path in folder.iterdir():
            if path.is_file():
                if not path.name.startswith(BOOK_OF_MIRROR):
                    path.unlink()
            elif path.name != STATE_NAME:
                shutil.rmtree(path, ignore_errors=True)
        return seconds

    def _seconds_before(self, number: int) -> float:
        kept = self.trial(number) / STATE_NAME / SECONDS_NAME
        records = self.trial(number) / RECORDS_NAME
        cut_torn_tail(records)
        try:
            told = [read_json(kept)] if kept.is_file() else []
            told += read_lines(records)
        except SearchError:
            # Both are about to be forgotten: damage in them costs the count, not the trial.
            return 0.0
        return max((float(line.get("seconds", 0.0)) for line in told), default=0.0)

    def drop_state(self, number: int) -> None:
        """Remove the state of a trial that has ended."""
        shutil.rmtree(self.trial(number) / STATE_NAME, ignore_errors=True)

    def forget_state(self, number: int) -> None:
        """Remove the state of a trial that has just ended, wherever it is."""
        self.drop_state(number)
        if self._storage is not None:
            self._storage.forget(number)

    def append_record(
        self, number: int, record: TrialEpochRecord, *, seconds: float = 0.0
    ) -> None:
        """Append an epoch to records.jsonl of a trial, with the seconds it has taken so far."""
        line = {**record_to_json(record), "seconds": round(seconds, 3)}
        append_line(self.trial(number) / RECORDS_NAME, line)

    def read_records(self, number: int) -> tuple[TrialEpochRecord, ...]:
        """Return the epochs of a trial."""
        lines = read_lines(self.trial(number) / RECORDS_NAME, signed=True)
        return tuple(record_from_json(line) for line in lines)

    def write_predictions(self, number: int, predictions: tuple[Prediction, ...]) -> None:
        """Write what a finished trial says of each held-out unit."""
        write_json(
            self.trial(number) / "predictions.json",
            [asdict(prediction) for prediction in predictions],
        )

    def mark_tracked(self, number: int) -> None:
        """Note that the tracker has taken the line of a trial."""
        self.trial(number).mkdir(parents=True, exist_ok=True)
        (self.trial(number) / ".tracked").touch()

    def is_tracked(self, number: int) -> bool:
        """Return whether the tracker has taken the line of a trial."""
        return (self.trial(number) / ".tracked").exists()

    def write_best(self, line: Mapping[str, Any]) -> None:
        """Copy the checkpoints of the best trial, and its line, to ``best/``."""
        if self._storage is not None:
            self._storage.fetch(line["number"])
        aside = self.path / ".best"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(self.trial(line["number"]), aside)
        for own in aside.glob(".*"):
            own.unlink()
        write_json(aside / "trial.json", dict(line))
        shutil.rmtree(self.best, ignore_errors=True)
        aside.rename(self.best)
