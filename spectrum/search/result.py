"""What a study says when it is over: the best trial beside floor, chance and default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.search.driver import best_line

__all__ = ["StudyResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """The lines of a study's trials by number, its floor, and what there is to tell.

    ``refused`` are the runs that could not be used, as ``code``, ``path`` and ``message``;
    ``seconds`` count this session alone.
    """

    study: Path
    lines: Mapping[int, Mapping[str, Any]]
    floor: Mapping[str, Any]
    seconds: float
    refused: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> dict[str, Any] | None:
        """The complete trial with the highest score, beside what it is read against."""
        line = best_line(self.lines)
        if line is None:
            return None
        return {
            "trial": line["number"],
            "score": line["score"]["value"],
            "ci95": list(line["score"]["ci95"]),
            "selected": True,
            "floor": self.floor["floor"]["value"],
            "chance": self.floor["chance"],
            "params": line["params"],
            "config": line["config"],
        }

    @property
    def default(self) -> dict[str, Any] | None:
        """The score of the default configuration, trial 0, where it is complete."""
        line = self.lines.get(0)
        if line is None or line["state"] != "complete":
            return None
        return {"score": line["score"]["value"], "ci95": list(line["score"]["ci95"])}

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``spectrum search --json`` prints."""
        states = Counter(line["state"] for line in self.lines.values())
        return {
            "study": str(self.study),
            "num_trials": len(self.lines),
            "num_complete": states["complete"],
            "num_pruned": states["pruned"],
            "num_failed": states["failed"],
            "best": self.best,
            "default": self.default,
            "floor": _plain(self.floor["floor"]),
            "majority": _plain(self.floor["majority"]),
            "chance": self.floor["chance"],
            "verdict": self.floor["verdict"],
            "refused": [dict(problem) for problem in self.refused],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def _plain(score: Mapping[str, Any]) -> dict[str, Any]:
    return {"score": score["value"], "ci95": list(score["ci95"])}
