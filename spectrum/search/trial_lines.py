"""The line of a trial that ended, and why a trial that says it is complete is not.

Not here: when a line is written (``driver``), and records (``trial_json``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from spectrum.records import TrialEpochRecord
from spectrum.search.optuna_study import Outcome, Proposal
from spectrum.search.selection import Rerun
from spectrum.search.trial_json import fold_line, mean_metrics, without_nan
from spectrum.search.trials import Failure, TrialEnd

__all__ = ["LiveTrial", "line_of", "missing_result", "not_finite"]

MAX_MESSAGE: Final = 2000
"""Characters of an error that a trial's line keeps."""


@dataclass(slots=True)
class LiveTrial:
    """What is known of a trial that runs; ``rerun`` is None for one that was proposed."""

    proposal: Proposal
    config: dict[str, Any]
    rerun: Rerun | None = None
    began: float = 0.0
    started: str = ""
    num_epochs: int = 0
    last: TrialEpochRecord | None = None
    end: TrialEnd | None = None
    failure: Failure | None = None
    stopped_by: Literal["epochs", "folds"] | None = None

    @property
    def outcome(self) -> Outcome:
        """How the trial ends, as far as is known."""
        if self.failure is not None:
            return "failed"
        return "pruned" if self.stopped_by else "complete"


def line_of(trial: LiveTrial, *, seconds: float, gpus: float = 0.0) -> dict[str, Any]:
    """Return what ``trials.jsonl`` says of a trial.

    Parameters
    ----------
    seconds : since it began
    gpus : that it had, a part of one where it had a part
    """
    last, end = trial.last, trial.end
    is_complete = trial.outcome == "complete"
    metrics = mean_metrics(last.folds) if last is not None else {}
    line = {
        "number": trial.proposal.number,
        **_kind(trial),
        "state": trial.outcome,
        "params": dict(trial.proposal.point),
        "asked": trial.proposal.asked,
        "config": trial.config,
        "score": last.score.to_json() if last is not None else None,
        "value": last.score.value if last is not None and is_complete else None,
        "folds": [fold_line(fold) for fold in end.folds] if is_complete and end else [],
        "metrics": {**metrics, **(end.metrics if is_complete and end else {})},
        "num_epochs": trial.num_epochs,
        "stopped_by": trial.stopped_by,
        "seconds": round(seconds, 3),
        "gpus": gpus,
        "started": trial.started or None,
        "error": {"kind": trial.failure.kind, "message": trial.failure.message[:MAX_MESSAGE]}
        if trial.failure
        else None,
    }
    return {name: without_nan(value) for name, value in line.items()}


def _kind(trial: LiveTrial) -> Mapping[str, Any]:
    if trial.rerun is None:
        return {}
    return {"kind": "rerun", "of": trial.rerun.of, "seed": trial.config["seed"]}


def missing_result(trial: LiveTrial) -> Failure | None:
    """Return why a trial that says it is complete is not; None where it is."""
    if trial.stopped_by:
        return None
    if trial.end is None or trial.last is None:
        return Failure(
            kind="NoResult", message="The trial ended without reporting that it finished."
        )
    if not math.isfinite(trial.last.score.value):
        return not_finite(trial.last.score.value, trial.last.epoch)
    return None


def not_finite(score: float, epoch: int) -> Failure:
    """Return the failure of a trial whose score is no number."""
    return Failure(
        kind="NotFinite", message=f"The score after epoch {epoch} is {score}, not a number."
    )
