"""Which trial is which run of Aim, and what of it Aim shows: a small JSON file of the study.

A run is written down before it is made, so that a writer that is killed in between finds it again
and never makes a second one. Reading it takes no aim, so that anyone can tell what is missing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spectrum.config import fingerprint
from spectrum.config.files import parse_json
from spectrum.search.view import StudyView

__all__ = [
    "FOLDER",
    "STUDY",
    "RunMap",
    "digest_of_trial",
    "num_missing",
    "pulse_file",
    "started_file",
]

FOLDER: Final = "aim"
"""Folder of a study that holds what its follower keeps: this map, a lock, errors."""

NAME: Final = "runs.json"

_TABLES: Final = ("hash_of", "digest_of", "epochs_of")

STUDY: Final = -1
"""Number under which the run of the study itself stands."""


@dataclass(slots=True)
class RunMap:
    """Run hashes, digests of what each run shows, and epochs that it holds, by trial number.

    ``repo`` is the repository of all this, "" for the one beside the study's folder, so that both
    can be moved; what is known of others is kept too.
    """

    path: Path
    repo: str
    others: dict[str, Any] = field(default_factory=dict)
    hash_of: dict[int, str] = field(default_factory=dict)
    digest_of: dict[int, str] = field(default_factory=dict)
    epochs_of: dict[int, int] = field(default_factory=dict)

    @classmethod
    def open(cls, study: Path, repo: str | None = None) -> RunMap:
        """Read the map of a study, or begin an empty one.

        Parameters
        ----------
        study : folder
        repo : folder of an Aim repository, or ``aim://HOST:PORT``
            None is where the study was shown before, else beside its folder.
        """
        path = study.resolve() / FOLDER / NAME
        stored = _read(path)
        if repo is None:
            asked = stored["repo"]
        else:
            asked = "" if repo == str(study.resolve().parent) else repo
        # A copy under another name is another study, with runs of its own.
        others = stored["maps"] if stored["study"] == study.resolve().name else {}
        tables = others.pop(asked, {})
        kept = {name: {int(k): v for k, v in table.items()} for name, table in tables.items()}
        return cls(path=path, repo=asked, others=others, **kept)

    @property
    def study(self) -> Path:
        """Folder of the study."""
        return self.path.parent.parent

    @property
    def address(self) -> str:
        """The repository as Aim opens it: a folder, or ``aim://HOST:PORT``."""
        return self.repo or str(self.study.parent)

    @property
    def is_remote(self) -> bool:
        """Whether the repository is a server's."""
        return self.repo.startswith("aim://")

    def claim(self, number: int) -> str:
        """Return the run of a trial; decide and write one down where there is none."""
        if number not in self.hash_of:
            self.hash_of[number] = uuid.uuid4().hex[:24]
            self.write()
        return self.hash_of[number]

    def forget(self, number: int) -> None:
        """Take a trial out of the map."""
        for name in _TABLES:
            getattr(self, name).pop(number, None)
        self.write()

    def unsettle(self, number: int) -> None:
        """Note that a run is about to change, so that it shows nothing for certain."""
        if self.digest_of.pop(number, None) is not None:
            self.write()

    def settle(self, number: int, digest: str, num_epochs: int) -> None:
        """Note what the run of a trial shows."""
        self.digest_of[number], self.epochs_of[number] = digest, num_epochs
        self.write()

    def write(self) -> None:
        """Replace the file in one step."""
        tables = {name: getattr(self, name) for name in _TABLES}
        maps = {**self.others, self.repo: tables}
        value = {"study": self.study.name, "repo": self.repo, "maps": maps}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".aside")
        aside.write_text(json.dumps(value), encoding="utf-8")
        aside.replace(self.path)


def digest_of_trial(line: Mapping[str, Any], study: StudyView) -> str:
    """Return a digest of all that the run of an ended trial shows beside its epochs."""
    ladder = {rung["name"]: rung["score"] for rung in (study.ladder or {}).get("rungs", ())}
    return fingerprint([line, study.tags_of(line["number"]), ladder])


def num_missing(study: StudyView) -> int:
    """Return how many ended trials of a study Aim does not show as they are."""
    shown = RunMap.open(study.path).digest_of
    return sum(shown.get(ln["number"]) != digest_of_trial(ln, study) for ln in study.lines)


def pulse_file(study: Path) -> Path:
    """Return the file whose time says when the study's follower last wrote something."""
    return study / FOLDER / "pulse"


def started_file(study: Path, number: int) -> Path:
    """Return the file that says what a trial which has not ended runs with."""
    return study / FOLDER / "started" / f"{number}.json"


def _read(path: Path) -> dict[str, Any]:
    """Return what the file says; nothing where it is absent or damaged: all can be made again."""
    try:
        stored = parse_json(path.read_text(encoding="utf-8"))
        texts = {name: str(stored[name]) for name in ("study", "repo")}
        return {**texts, "maps": dict(stored["maps"])}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return {"study": "", "repo": "", "maps": {}}
