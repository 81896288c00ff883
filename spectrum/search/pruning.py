"""When a trial is stopped early: rules over the scores that all trials had at the same epoch.

Our own rules over the study's journal, so that a resumed study decides as the undisturbed one
would. Pure arithmetic; not here: where the scores come from (``optuna_study``).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from spectrum.search.settings import PrunerConfig

__all__ = ["is_hopeless", "is_rung"]


def is_rung(num_epochs: int, config: PrunerConfig) -> bool:
    """Return whether successive halving compares trials after this many epochs, >= 1."""
    rung = config.min_epochs
    while rung < num_epochs:
        rung *= config.reduction
    return rung == num_epochs


def is_hopeless(
    value: float, rivals: Sequence[float], *, num_epochs: int, config: PrunerConfig
) -> bool:
    """Return whether a trial should stop after an epoch.

    Successive halving without promotion (Li et al. 2020, "A system for massively parallel
    hyperparameter tuning", algorithm 2, asynchronous): of the n trials that reached a rung, this
    one among them, the best max(1, n // reduction) go on; ties go on.

    Parameters
    ----------
    value : score of this trial after ``num_epochs`` epochs; higher is better
    rivals : scores of the other trials after as many epochs
    num_epochs : count of epochs done, >= 1
    """
    if config.rule == "none" or num_epochs < config.min_epochs or len(rivals) < config.min_rivals:
        return False
    if config.rule == "median":
        return value < statistics.median(rivals)
    if not is_rung(num_epochs, config):
        return False
    num_passing = max(1, (len(rivals) + 1) // config.reduction)
    return value < sorted([*rivals, value], reverse=True)[num_passing - 1]
