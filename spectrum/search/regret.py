"""How much a study can still gain: a bound on how far its best score is from the best there is.

Not here: what follows from it (``budget``), and patience, which needs no model.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.terminator import RegretBoundEvaluator
from optuna.trial import FrozenTrial, TrialState

__all__ = ["MIN_TRIALS", "regret_bound"]

MIN_TRIALS: Final = 20
"""Complete trials below which the model of the score says nothing; Optuna's own number."""


def regret_bound(trials: Sequence[FrozenTrial], *, seed: int) -> float | None:
    """Return how far the best score is from the highest possible one at most, by a model.

    Makarova et al. 2022, "Automatic termination for hyperparameter optimization", as Optuna has
    it: a Gaussian process of the score over the better half of the trials, its upper bound over
    the space less its lower bound at the trials. It sees only parameters that every complete
    trial has; what conditional ones do counts as noise. A bound of the model, not of the truth.

    Parameters
    ----------
    trials : of one objective that is to be high
    seed : of the points at which the upper bound is looked for

    Returns
    -------
    bound : None with fewer than ``MIN_TRIALS`` complete trials, or no parameter in common
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    shared = set.intersection(*(set(t.distributions) for t in complete)) if complete else set()
    if len(complete) < MIN_TRIALS or not shared:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        evaluator = RegretBoundEvaluator(seed=seed)
        return float(evaluator.evaluate(complete, StudyDirection.MAXIMIZE))
