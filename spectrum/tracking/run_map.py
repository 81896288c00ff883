"""Which trial is which run of Aim: a small JSON file inside the Aim repository.

It is written before a run is made, so that a driver that is killed in between finds its run again
and never makes a second one. It lies inside ``.aim``, so that it goes when the repository goes.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectrum.config import fingerprint

__all__ = ["RunMap"]


@dataclass(slots=True)
class RunMap:
    """Run hashes by trial number, and the fingerprint of the line that each run shows.

    ``identity`` tells two studies of one name apart; a file of another identity is set aside.
    """

    path: Path
    identity: str = ""
    hash_of_trial: dict[int, str] = field(default_factory=dict)
    digest_of_trial: dict[int, str] = field(default_factory=dict)
    best: int | None = None

    @classmethod
    def open(cls, folder: Path, *, identity: str) -> RunMap:
        """Read the map of a folder, or begin an empty one."""
        path = folder / "runs.json"
        stored = _read(path)
        if stored is None or (identity and stored.get("identity", "") not in ("", identity)):
            return cls(path=path, identity=identity)
        return cls(
            path=path,
            identity=identity or stored.get("identity", ""),
            hash_of_trial={int(number): str(value) for number, value in stored["runs"].items()},
            digest_of_trial={
                int(number): str(value) for number, value in stored["digests"].items()
            },
            best=stored.get("best"),
        )

    def hash_of(self, number: int) -> str:
        """Return the run of a trial; decide and write one down where there is none."""
        if number not in self.hash_of_trial:
            self.hash_of_trial[number] = uuid.uuid4().hex[:24]
            self.write()
        return self.hash_of_trial[number]

    def forget(self, number: int) -> None:
        """Take a trial out of the map."""
        self.hash_of_trial.pop(number, None)
        self.digest_of_trial.pop(number, None)
        self.write()

    def set_digest(self, number: int, line: Any) -> None:
        """Note that a run shows this line and all its epochs; None takes the note away."""
        if line is None:
            if self.digest_of_trial.pop(number, None) is None:
                return
        else:
            self.digest_of_trial[number] = fingerprint(line)
        self.write()

    def shows(self, number: int, line: Any) -> bool:
        """Whether the run of a trial shows this line already."""
        return self.digest_of_trial.get(number) == fingerprint(line)

    def write(self) -> None:
        """Replace the file in one step."""
        value = {
            "identity": self.identity,
            "runs": self.hash_of_trial,
            "digests": self.digest_of_trial,
            "best": self.best,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        aside = self.path.with_suffix(".aside")
        aside.write_text(json.dumps(value), encoding="utf-8")
        aside.replace(self.path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    complete = isinstance(stored, dict) and {"runs", "digests"} <= stored.keys()
    return stored if complete else None
