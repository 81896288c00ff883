"""What a study says when it is over: the best trial beside floor, chance and default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.search.ladders import rungs_above_floor, told_rungs
from spectrum.search.objectives import pareto_front
from spectrum.search.savings import savings
from spectrum.search.selection import Selection, best_line
from spectrum.search.settings import ObjectiveName

__all__ = ["StudyResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """The lines of a study's trials by number, its floor, and what there is to tell.

    ``refused`` are the runs that could not be used, as ``code``, ``path`` and ``message``;
    ``seconds`` count this session alone. ``selection`` is what the re-runs of the best led to,
    ``seal`` who was kept from the search, None where no one; ``ladder`` are the simpler models on
    the same folds, None where none was fitted.
    """

    study: Path
    lines: Mapping[int, Mapping[str, Any]]
    floor: Mapping[str, Any]
    seconds: float
    refused: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    selection: Selection | None = None
    objectives: tuple[ObjectiveName, ...] = ("score",)
    seal: Mapping[str, Any] | None = None
    ladder: Mapping[str, Any] | None = None

    @property
    def best(self) -> dict[str, Any] | None:
        """The selected trial, beside what it is read against.

        ``score`` is that of the search, ``rerun`` what its new seeds scored.
        """
        line = best_line(self.lines, self.selection)
        if line is None:
            return None
        return {
            "trial": line["number"],
            "score": line["score"]["value"],
            "ci95": list(line["score"]["ci95"]),
            "selected": True,
            "selected_by": self._selected_by,
            "rerun": self._rerun_of(line["number"]),
            "floor": self.floor["floor"]["value"],
            "ladder": self.ladder
            and {rung["name"]: rung["score"] for rung in rungs_above_floor(self.ladder)},
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
        return {
            "score": line["score"]["value"],
            "ci95": list(line["score"]["ci95"]),
            "rerun": self._rerun_of(0),
        }

    @property
    def front(self) -> list[dict[str, Any]] | None:
        """The trials that no other one beats in all objectives; None with one objective."""
        if len(self.objectives) == 1:
            return None
        numbers = pareto_front(self.lines, self.objectives)
        return [{"trial": n, **self.lines[n]["objectives"]} for n in numbers]

    @property
    def _selected_by(self) -> str:
        num_complete = sum(line["state"] == "complete" for line in self.lines.values())
        if self.selection is None:
            return f"highest score of {num_complete} complete trials"
        selection = self.selection
        default = selection.better_default
        told = "" if default is None else f"; the default's, which could not win, is {default:.3f}"
        return (
            f"highest mean over {selection.num_seeds} new seeds, of the "
            f"{selection.num_candidates} best of {num_complete} complete trials by score; as the "
            f"highest of several on the same subjects this mean is selected too{told}"
        )

    def _rerun_of(self, number: int) -> dict[str, Any] | None:
        mean = self.selection.mean_of(number) if self.selection else None
        if self.selection is None or mean is None:
            return None
        return {"mean": mean, "scores": list(self.selection.scores[number])}

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
            "selection": self.selection.to_json() if self.selection else None,
            "front": self.front,
            "sealed": None if self.seal is None else dict(self.seal),
            "saved": savings(self.lines.values()),
            "floor": _plain(self.floor["floor"]),
            "ladder": told_rungs(self.ladder),
            "majority": _plain(self.floor["majority"]),
            "chance": self.floor["chance"],
            "verdict": self.floor["verdict"],
            "refused": [dict(problem) for problem in self.refused],
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


def _plain(score: Mapping[str, Any]) -> dict[str, Any]:
    return {"score": score["value"], "ci95": list(score["ci95"])}
