"""How a study runs: trials, seed, sampler, early stopping, failure budget.

Not here: what is searched (``space``) and how a sampler is built (``optuna_study``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spectrum.config.frozen import FrozenConfig

__all__ = ["PrunerConfig", "StudySettings"]


class PrunerConfig(FrozenConfig):
    """When a trial is stopped before its last epoch. The default configuration never is."""

    rule: Literal["none", "halving", "median"] = "halving"
    """``halving``: at each rung (``min_epochs``, times ``reduction``, times ``reduction`` squared)
    the best share of 1/``reduction`` goes on. ``median``: a trial stops where it is worse than the
    median of the others at the same epoch. ``none``: every trial trains all its epochs."""

    min_epochs: int = Field(default=3, ge=1)
    """Epochs that every trial is given."""

    reduction: int = Field(default=3, ge=2, le=16)
    """Share of trials that a rung of ``halving`` lets pass, as a divisor."""

    min_rivals: int = Field(default=3, ge=1)
    """Other trials that must have a score at an epoch before one is stopped there."""


class StudySettings(FrozenConfig):
    """Everything about a study that is not a parameter."""

    num_trials: int = Field(default=20, ge=1, le=1_000_000)
    """Trials of the study, the default configuration included."""

    seed: int = Field(default=0, ge=0)
    """Seed of all proposals. With one trial at a time the same seed proposes the same points."""

    sampler: Literal["tpe", "random", "qmc", "gp", "nsgaii"] = "tpe"
    """Optuna's sampler: tree-structured Parzen estimator, random, quasi-random, Gaussian process,
    or genetic."""

    startup_trials: int = Field(default=10, ge=1)
    """Random trials before ``tpe`` and ``gp`` model the score."""

    pruner: PrunerConfig = PrunerConfig()

    max_failed: int = Field(default=10, ge=0)
    """Failed trials of one session that a study bears; one more stops it."""

    disk_gib: float | None = Field(default=None, gt=0.0)
    """GiB that the shard sets of all recipes may take together: those used longest ago are
    removed, but for sets of other running studies, and made again where a trial wants them. The
    spatial parts of runs are kept, and must fit in as much again. None keeps all."""

    gpus_per_trial: float | None = Field(default=None, ge=0.0, le=64.0)
    """GPUs of one trial, a part where several share one; None is one where the cluster has any."""
