"""Seconds of a study's trials: by the study's own record, and from one proposal to the next."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from spectrum.search.driver import Moment


class TrialTimes:
    """Notes at the driver's moments when each trial was asked for; what ``then`` does is no part.

    Parameters
    ----------
    then : what happens between trials: called with the number of the one that begins
    """

    def __init__(self, then: Callable[[int], None] = lambda number: None) -> None:
        self._then = then
        self._begin = 0.0
        self._of_trial: list[float] = []

    def __call__(self, moment: Moment, number: int) -> None:
        if moment != "asked":
            return
        if number:
            self._of_trial.append(time.monotonic() - self._begin)
        self._then(number)
        self._begin = time.monotonic()

    @property
    def whole(self) -> list[float]:
        """Seconds from one proposal to the next, the last trial left out."""
        return self._of_trial


def recorded(study: Path) -> list[float]:
    """Return the seconds of each trial as the study's folder says."""
    lines = (study / "trials.jsonl").read_text().splitlines()
    return [float(json.loads(line)["seconds"]) for line in lines]


def most_slowed(disturbed: list[float], calm: list[float]) -> float:
    """Return by how many seconds the trial of the largest difference was slower."""
    return max(ours - theirs for ours, theirs in zip(disturbed, calm, strict=True))
