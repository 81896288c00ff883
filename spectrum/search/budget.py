"""How many more trials a study proposes: their number, its patience, its hours, what it can gain.

Not here: failed trials, which stop a session (``driver``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from spectrum.search.settings import StudySettings

__all__ = ["Budget", "gpu_hours_of"]

SECONDS_PER_HOUR: Final = 3600.0


class Budget:
    """The limits of one session.

    Parameters
    ----------
    settings : of the study
    num_trials : of the whole study
    begin : of this session, seconds on the clock of ``num_open``
    """

    def __init__(self, settings: StudySettings, *, num_trials: int, begin: float) -> None:
        self._settings, self._num_trials, self._begin = settings, num_trials, begin

    def over(self, now: float, gpu_hours: float) -> str:
        """Return which hours are over, so that nothing more begins; "" where none are.

        Parameters
        ----------
        now : seconds
        gpu_hours : of all trials and re-runs in all sessions, those that run included so far
        """
        hours, gpus = self._settings.max_hours, self._settings.max_gpu_hours
        if hours is not None and now - self._begin > hours * SECONDS_PER_HOUR:
            return f"study.max_hours, {hours:g}, are over"
        if gpus is not None and gpu_hours >= gpus:
            return f"study.max_gpu_hours, {gpus:g}, are over"
        return ""

    def num_open(
        self,
        num_proposed: int,
        lines: Sequence[Mapping[str, Any]],
        *,
        over: str,
        regret: Callable[[], float | None] = lambda: None,
    ) -> tuple[int, str]:
        """Return how many trials may still be proposed, and why none are though some were asked.

        Parameters
        ----------
        num_proposed : trials proposed so far, by all sessions
        lines : of the trials that have ended, in this order
        over : what the method of this name says
        regret : asked only where the study is to stop by it
        """
        num_open = max(0, self._num_trials - num_proposed)
        if not num_open:
            return 0, ""
        reason = self._idle(lines) or self._is_enough(regret)
        if reason:
            return 0, f"{reason}; the other {num_open} were not begun."
        if over:
            trials = f"the other {num_open} trials were not begun"
            return 0, f"{over}; {trials}. {_remedy(over)}"
        return num_open, ""

    def reruns_note(self, over: str, num_left: int) -> str:
        """Return the sentence for re-runs that are left when hours are over."""
        return (
            f"{over}; {num_left} re-runs of the best trials were not begun, so that none is "
            f"selected by its re-runs. {_remedy(over)}"
        )

    def _idle(self, lines: Sequence[Mapping[str, Any]]) -> str:
        patience = self._settings.patience_trials
        if patience is None or (idle := trials_since_best(lines)) < patience:
            return ""
        return (
            f"{idle} trials in a row brought no higher score, study.patience_trials is {patience}"
        )

    def _is_enough(self, regret: Callable[[], float | None]) -> str:
        limit = self._settings.stop_when.regret_below
        bound = regret() if limit is not None else None
        if limit is None or bound is None or bound >= limit:
            return ""
        return (
            f"The best score is at most {bound:.2g} from the highest possible one by a model of "
            f"the score, study.stop_when.regret_below is {limit:g}"
        )


def _remedy(over: str) -> str:
    """Return what to do where hours are over; those of one session begin anew with the next."""
    raised = "Raise it and continue" if "max_gpu_hours" in over else "Continue"
    return f"{raised} with --resume."


def gpu_hours_of(line: Mapping[str, Any]) -> float:
    """Return the GPU hours of an ended trial; 0 for one of a study that did not note them."""
    return float(line.get("gpus", 0.0)) * float(line["seconds"]) / SECONDS_PER_HOUR


def trials_since_best(lines: Sequence[Mapping[str, Any]]) -> int:
    """Return how many trials ended after the one that brought the highest score; 0 before any."""
    best, since = None, 0
    for line in lines:
        since += 1
        if line["state"] == "complete" and (best is None or line["value"] > best):
            best, since = line["value"], 0
    return since if best is not None else 0
