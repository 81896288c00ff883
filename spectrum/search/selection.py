"""Which trial is selected: the best are run again with new seeds, and the best mean wins.

A re-run is a trial of its own kind: it has a line, records and a folder like any other, a number
that no proposed trial can have, and the journal does not know it. Pure: what is planned follows
from the lines of the trials that were proposed. Not here: who runs them (``driver``).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from spectrum.search.settings import RerunConfig

__all__ = [
    "Rerun",
    "Selection",
    "best_line",
    "is_rerun",
    "planned_reruns",
    "ranked",
    "select",
    "selection_from_json",
]

FIRST_RERUN: Final = 10_000_000
"""Lowest number of a re-run; a study has a million trials at most."""

SEEDS_AT_MOST: Final = 100
"""Re-runs of one trial; the number of one is ``FIRST_RERUN + SEEDS_AT_MOST * trial + index``."""

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """One re-run: its number, the trial whose configuration it has, and its place, from 0."""

    number: int
    of: int
    index: int

    def seed_of(self, seed: int) -> int:
        """Return the new seed; the same place has the same one in all trials."""
        child = np.random.SeedSequence([seed, FIRST_RERUN, self.index]).generate_state(1)
        return int(child[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The scores of the re-runs by trial, and the trial of the highest mean.

    ``num_trials`` is the number of ended trials that the best were taken from; ``failed`` are
    trials of which a re-run failed, so that they could not win; ``beside`` are those run again for
    comparison alone: the default configuration, where it is not among the best.
    """

    num_trials: int
    num_seeds: int
    scores: Mapping[int, tuple[float, ...]]
    winner: int
    failed: tuple[int, ...] = ()
    beside: tuple[int, ...] = ()

    @property
    def num_candidates(self) -> int:
        """Trials that were run again and could win."""
        return len((self.scores.keys() | set(self.failed)) - set(self.beside))

    @property
    def better_default(self) -> float | None:
        """Mean of a default that could not win though it is above the winner's; None without."""
        own, mean = self.mean_of(self.winner), self.mean_of(0)
        is_better = 0 in self.beside and own is not None and mean is not None and mean > own
        return mean if is_better else None

    def mean_of(self, trial: int) -> float | None:
        """Return the mean score of a trial's re-runs; None where it has none."""
        scores = self.scores.get(trial)
        return statistics.fmean(scores) if scores else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; ``means`` and ``scores`` by trial, the highest mean first."""
        order = sorted(self.scores, key=lambda trial: (-(self.mean_of(trial) or 0.0), trial))
        return {
            "num_trials": self.num_trials,
            "num_seeds": self.num_seeds,
            "winner": self.winner,
            "means": {str(trial): self.mean_of(trial) for trial in order},
            "scores": {str(trial): list(self.scores[trial]) for trial in order},
            "failed": list(self.failed),
            "beside": list(self.beside),
        }


def selection_from_json(value: Mapping[str, Any]) -> Selection:
    """Return the selection that ``to_json`` wrote."""
    return Selection(
        num_trials=value["num_trials"],
        num_seeds=value["num_seeds"],
        winner=value["winner"],
        scores={int(trial): tuple(scores) for trial, scores in value["scores"].items()},
        failed=tuple(value["failed"]),
        beside=tuple(value.get("beside", ())),
    )


def is_rerun(number: int) -> bool:
    """Return whether a number is that of a re-run."""
    return number >= FIRST_RERUN


def ranked(lines: Mapping[int, Line]) -> list[Line]:
    """Return the lines of complete trials, re-runs left out, the highest score first."""
    complete = [
        line
        for number, line in lines.items()
        if line["state"] == "complete" and not is_rerun(number)
    ]
    return sorted(complete, key=lambda line: (-line["value"], line["number"]))


def best_line(lines: Mapping[int, Line], selection: Selection | None = None) -> Line | None:
    """Return the line of the selected trial: by mean of re-runs, or the first of the highest."""
    if selection is not None:
        return lines[selection.winner]
    return next(iter(ranked(lines)), None)


def planned_reruns(lines: Mapping[int, Line], config: RerunConfig) -> tuple[Rerun, ...]:
    """Return the re-runs that the ended trials call for, those of the best trial first.

    The default configuration, trial 0, is among them where it is complete.
    """
    order = ranked(lines)
    chosen = [line["number"] for line in order[: config.top]]
    if chosen and 0 not in chosen and any(line["number"] == 0 for line in order):
        chosen.append(0)
    return tuple(
        Rerun(number=FIRST_RERUN + SEEDS_AT_MOST * trial + index, of=trial, index=index)
        for trial in chosen
        for index in range(config.seeds)
    )


def select(
    lines: Mapping[int, Line], reruns: Mapping[int, Line], config: RerunConfig
) -> Selection | None:
    """Return the selection once all planned re-runs have ended; None before, or without any.

    Of equal means the trial with the higher score wins. Where each of the best had a re-run that
    failed there is no selection either.

    Parameters
    ----------
    lines : of the trials proposed, by number
    reruns : lines of the re-runs, by their own number
    """
    planned = planned_reruns(lines, config)
    if not planned or any(rerun.number not in reruns for rerun in planned):
        return None
    scores: dict[int, list[float]] = {}
    failed: dict[int, None] = {}
    for rerun in planned:
        line = reruns[rerun.number]
        if line["state"] == "complete":
            scores.setdefault(rerun.of, []).append(line["value"])
        else:
            failed[rerun.of] = None
    whole = {trial: tuple(values) for trial, values in scores.items() if trial not in failed}
    candidates = dict.fromkeys(rerun.of for rerun in planned[: config.top * config.seeds])
    means = {trial: statistics.fmean(whole[trial]) for trial in candidates if trial in whole}
    if not means:
        return None
    return Selection(
        num_trials=len(lines),
        num_seeds=config.seeds,
        scores=whole,
        winner=max(means, key=lambda trial: means[trial]),
        failed=tuple(failed),
        beside=tuple(dict.fromkeys(r.of for r in planned if r.of not in candidates)),
    )
