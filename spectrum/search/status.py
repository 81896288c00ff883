"""What a search is doing now, as plain values for whoever shows it.

Not here: how it is shown (the command line).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spectrum.search.trial_lines import LiveTrial

__all__ = ["StudyStatus", "TrialStatus", "seconds_left", "status_of_trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStatus:
    """A trial that runs: ``of`` is the trial that a re-run repeats, ``fold`` the one at hand.

    ``epoch`` counts the records so far, of ``num_epochs`` that there will be at most; ``fold`` is
    None where all folds go side by side; ``score`` is None before the first record.
    """

    number: int
    of: int | None
    fold: str | None
    epoch: int
    num_epochs: int
    score: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyStatus:
    """All trials that run, those that are done, the best so far, and the time left.

    ``best`` is the number and the score of the selected trial; ``floor`` what it is read against,
    as are the scores of the rungs in ``ladder``; ``seconds_left`` is None before a trial has
    ended.
    """

    trials: tuple[TrialStatus, ...]
    num_done: int
    num_total: int
    best: tuple[int, float] | None
    seconds_left: float | None
    floor: float | None = None
    ladder: Mapping[str, float] = field(default_factory=dict)


def status_of_trial(number: int, trial: LiveTrial, *, now: float) -> TrialStatus:
    """Return what a live trial is doing.

    Parameters
    ----------
    now : seconds on the clock of ``trial.began``
    """
    training, last = trial.config["training"], trial.last
    by_fold = training.get("fold_order") == "fold"
    return TrialStatus(
        number=number,
        of=trial.rerun.of if trial.rerun else None,
        fold=last.folds[-1].fold if by_fold and last is not None and last.folds else None,
        epoch=trial.num_epochs,
        num_epochs=training["num_epochs"],
        score=last.score.value if last is not None else None,
        seconds=now - trial.began if trial.started else 0.0,
    )


def seconds_left(
    seconds: Sequence[float], num_left: int, live: Mapping[int, LiveTrial]
) -> float | None:
    """Return how long the rest will take if it goes on as it did; None before a trial has ended.

    Parameters
    ----------
    seconds : of the trials that ended
    num_left : trials that have not ended
    live : those that run, which are so many at a time
    """
    if not seconds:
        return None
    return sum(seconds) / len(seconds) * num_left / max(1, len(live))
