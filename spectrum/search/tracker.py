"""What a study tells a tracker, as a protocol of plain records; Aim is one, a list another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from spectrum.records import TrialEpochRecord

__all__ = ["Tracker", "TrialLine"]

TrialLine = Mapping[str, Any]
"""One line of ``trials.jsonl``: number, state, params, config, score, folds, seconds, error."""


class Tracker(Protocol):
    """Follows the trials of one study. Methods are called by the driver alone, in order."""

    def start_trial(
        self, number: int, *, config: Mapping[str, Any], params: Mapping[str, Any]
    ) -> None:
        """Begin or continue the trial of this number; a second call continues the same run."""

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        """Take all folds of a trial after one epoch."""

    def finish_trial(self, number: int, line: TrialLine, *, tags: Sequence[str]) -> None:
        """Take the final line of a trial and close its run."""

    def close(self) -> None:
        """Flush everything; the study is over."""
