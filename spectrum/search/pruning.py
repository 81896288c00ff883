"""When a trial is stopped early: rules over the scores that all trials had at the same epoch.

Our own rules over the study's journal, so that a resumed study decides as the undisturbed one
would. Pure arithmetic; not here: where the scores come from (``optuna_study``).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from spectrum.records import TrialEpochRecord
from spectrum.search.settings import PrunerConfig

__all__ = ["bracket_of", "is_hopeless", "is_pruning_step", "is_rung", "rules_of"]


def is_pruning_step(record: TrialEpochRecord, fold_order: str) -> bool:
    """Return whether the rules look at an epoch; its index is then the epochs done less one.

    Epoch by epoch each record is of all folds. Fold by fold a record counts epochs of all folds
    before it too, and after the first fold a score is of whole folds and a begun one: the epochs
    of the first fold are compared, and what follows is for the race over folds (``racing``).
    """
    return fold_order == "epoch" or not record.ended_folds


def bracket_of(number: int, config: PrunerConfig) -> int:
    """Return the bracket of a trial, from 0; trials are compared within their bracket alone."""
    return number % config.brackets if config.rule == "hyperband" else 0


def rules_of(number: int, config: PrunerConfig) -> PrunerConfig:
    """Return the rules of a trial's bracket: halving that begins later in a later bracket.

    Hyperband (Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter
    optimization") with asynchronous halving in each bracket, and trials dealt out in turn.
    """
    if config.rule != "hyperband":
        return config
    least = config.min_epochs * config.reduction ** bracket_of(number, config)
    return config.model_copy(update={"rule": "halving", "min_epochs": least})


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
