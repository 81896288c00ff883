"""How many more trials a study proposes: their number, its patience, and its hours.

Not here: failed trials, which stop a session (``driver``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from spectrum.search.settings import StudySettings

__all__ = ["Budget"]

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

    def is_over(self, now: float) -> bool:
        """Return whether the hours of this session are over, so that nothing more begins."""
        hours = self._settings.max_hours
        return hours is not None and now - self._begin > hours * SECONDS_PER_HOUR

    def reruns_note(self, num_left: int) -> str:
        """Return the sentence for re-runs that are left when the hours are over."""
        return (
            f"study.max_hours, {self._settings.max_hours:g}, are over; {num_left} re-runs of the "
            "best trials were not begun, so that none is selected by its re-runs. Continue with "
            "--resume."
        )

    def num_open(
        self, num_proposed: int, lines: Sequence[Mapping[str, Any]], *, now: float
    ) -> tuple[int, str]:
        """Return how many trials may still be proposed, and why none are though some were asked.

        Parameters
        ----------
        num_proposed : trials proposed so far, by all sessions
        lines : of the trials that have ended, in this order
        now : seconds
        """
        num_open = max(0, self._num_trials - num_proposed)
        patience, hours = self._settings.patience_trials, self._settings.max_hours
        if not num_open:
            return 0, ""
        if patience is not None and (idle := trials_since_best(lines)) >= patience:
            return 0, (
                f"{idle} trials in a row brought no higher score, study.patience_trials is "
                f"{patience}; the other {num_open} were not begun."
            )
        if self.is_over(now):
            return 0, (
                f"study.max_hours, {hours:g}, are over; the other {num_open} trials were not "
                "begun. Continue with --resume."
            )
        return num_open, ""


def trials_since_best(lines: Sequence[Mapping[str, Any]]) -> int:
    """Return how many trials ended after the one that brought the highest score; 0 before any."""
    best, since = None, 0
    for line in lines:
        since += 1
        if line["state"] == "complete" and (best is None or line["value"] > best):
            best, since = line["value"], 0
    return since if best is not None else 0
