"""When a trial is stopped between two folds: it is worse than the best one on the same subjects.

A test over a few folds has no power; subjects are the independent units, so the test pairs the
subjects that both trials have been scored on so far. Pure arithmetic; not here: where the outcomes
come from (``driver``).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from spectrum.scores.resampling import sign_flip_p
from spectrum.search.settings import FoldRaceConfig

__all__ = ["is_behind", "p_of_being_worse"]

MAX_DENOMINATOR: Final = 10_000
"""A subject's outcome is brought to a fraction of at most this denominator, for an exact test."""

NUM_RESAMPLES: Final = 10_000
"""Sign patterns drawn where there are too many to count all."""


def p_of_being_worse(own: Mapping[str, float], best: Mapping[str, float]) -> tuple[float, int]:
    """Return the one-sided p of the best trial's lead under random signs, and the pairs.

    Exact sign flip over the differences between two trials on the subjects of both: if the two
    configurations were equally good, each difference would be as likely as its negative.

    Parameters
    ----------
    own, best : outcome of each subject in [0, 1]

    Returns
    -------
    p : 1.0 without any difference
    num_subjects : subjects of both
    """
    shared = sorted(own.keys() & best.keys())
    differences = [_fraction(best[name]) - _fraction(own[name]) for name in shared]
    moved = [difference for difference in differences if difference]
    if not moved:
        return 1.0, len(shared)
    p, _ = sign_flip_p(moved, num_resamples=NUM_RESAMPLES, seed=0)
    return p, len(shared)


def is_behind(
    own: Mapping[str, float], best: Mapping[str, float], *, config: FoldRaceConfig
) -> bool:
    """Return whether a trial stops after a fold.

    The best trial was chosen for its outcomes on these very subjects, which flatters it; and a
    trial is looked at after each fold. Both make the rule stop more often than ``alpha`` says, so
    that the level is a setting and no error rate.

    Parameters
    ----------
    own : outcome of each subject of the folds that this trial has ended
    best : outcome of each subject of the best complete trial
    """
    if config.alpha == 0.0:
        return False
    p, num_subjects = p_of_being_worse(own, best)
    return num_subjects >= config.min_subjects and p <= config.alpha


def _fraction(value: float) -> Fraction:
    return Fraction(value).limit_denominator(MAX_DENOMINATOR)
