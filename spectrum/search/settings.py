"""How a study runs: trials, seed, sampler, early stopping, failure budget.

Not here: what is searched (``space``) and how a sampler is built (``optuna_study``).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from spectrum.config.frozen import FrozenConfig
from spectrum.data.describing import GIB

__all__ = [
    "FoldRaceConfig",
    "ObjectiveName",
    "PrunerConfig",
    "RerunConfig",
    "StopConfig",
    "StudySettings",
]

ObjectiveName = Literal["score", "worst_dataset", "seconds", "parameters"]
"""What a study may search for. ``score`` and ``worst_dataset`` (the lowest mean over the subjects
of one data set) are to be high, ``seconds`` of a trial and ``parameters`` of a model low."""


class FoldRaceConfig(FrozenConfig):
    """When a trial is stopped between two folds; needs ``training.fold_order: fold``."""

    alpha: float = Field(default=0.15, ge=0.0, lt=0.5)
    """A trial stops where it is worse than the best one on the subjects scored so far, by a paired
    one-sided test at this level. 0 stops none.

    On 40 simulated studies of four folds (``tests/benchmarks/search_quality``, seeds 100 to 139)
    0.1 and 0.15 both lost no best trial, and trained 0.425 and 0.405 of the epochs; 0.2 lost one
    of six."""

    min_subjects: int = Field(default=6, ge=2)
    """Subjects that both trials must have been scored on."""


class PrunerConfig(FrozenConfig):
    """When a trial is stopped before its last epoch. The default configuration never is.

    With ``training.fold_order: fold`` epochs are those of the first fold; between later ones only
    ``folds`` stops a trial.
    """

    rule: Literal["none", "halving", "hyperband", "median"] = "halving"
    """``halving``: at each rung (``min_epochs``, times ``reduction``, times ``reduction`` squared)
    the best share of 1/``reduction`` goes on. ``hyperband``: trials take turns in ``brackets``,
    each halving among its own, the later ones from ``reduction`` times as many epochs on, so that
    configurations that learn slowly are not all lost. ``median``: a trial stops where it is worse
    than the median of the others at the same epoch. ``none``: every trial trains all its epochs.
    """

    min_epochs: int = Field(default=3, ge=1)
    """Epochs that every trial is given."""

    reduction: int = Field(default=3, ge=2, le=16)
    """Share of trials that a rung of ``halving`` lets pass, as a divisor."""

    brackets: int = Field(default=3, ge=1, le=8)
    """Brackets of ``hyperband``."""

    min_rivals: int = Field(default=3, ge=1)
    """Other trials that must have a score at an epoch before one is stopped there."""

    folds: FoldRaceConfig = FoldRaceConfig()


class RerunConfig(FrozenConfig):
    """The best trials are run again with new seeds, and the winner is the best by mean.

    The highest of many noisy scores is high by luck too; the mean over new seeds has none of that
    luck, but as the highest of ``top`` means on the same subjects it is selected as well. The
    default configuration is run again beside them, with the same seeds; where it is not among the
    best it cannot win, and the result says so if its mean is higher.
    """

    top: int = Field(default=5, ge=0, le=50)
    """Trials that are run again; 0 runs none, and the highest score wins."""

    seeds: int = Field(default=3, ge=1, le=99)
    """New seeds of each, derived from the configuration's."""


class StopConfig(FrozenConfig):
    """When a study ends before its number of trials, as little more can be gained."""

    regret_below: float | None = Field(default=None, gt=0.0, lt=1.0)
    """No further trial is proposed once the best score is at most this far from the highest
    possible one, by a model of the score over the better half of at least 20 complete trials
    (``regret``). None asks no model."""


class StudySettings(FrozenConfig):
    """Everything about a study that is not a parameter."""

    num_trials: int = Field(default=20, ge=1, le=1_000_000)
    """Trials of the study, the default configuration included."""

    seed: int = Field(default=0, ge=0)
    """Seed of all proposals. With one trial at a time the same seed proposes the same points."""

    sampler: Literal["tpe", "random", "qmc", "gp", "nsgaii", "nsgaiii", "auto"] = "tpe"
    """Optuna's sampler: tree-structured Parzen estimator (all parameters together, those of each
    condition as a group), random, quasi-random, Gaussian process, or genetic. ``auto`` is known
    and refused: Optuna downloads it when it is used."""

    startup_trials: int = Field(default=10, ge=1)
    """Random trials before ``tpe`` and ``gp`` model the score."""

    pruner: PrunerConfig = PrunerConfig()

    max_failed: int = Field(default=10, ge=0)
    """Failed trials of one session that a study bears; one more stops it."""

    disk_gib: float | None = Field(default=None, gt=0.0)
    """GiB that the shard sets of all recipes may take together: those used longest ago are
    removed, but for sets of other running studies, and made again where a trial wants them. The
    spatial parts of runs are kept, and must fit in as much again. None keeps all."""

    gpus_per_worker: Literal["auto"] | Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """GPUs of each worker of a trial: a part where several trials of one worker share a GPU, as in
    0.25; None is one where the cluster has any. ``auto`` measures the memory of the default
    configuration and lets as many trials share a GPU as fit, eight at most. A worker among several
    gets a whole one."""

    concurrent_trials: int | None = Field(default=None, ge=1, le=100_000)
    """Trials at a time. Those without a place wait for one, so that an autoscaler brings machines
    of the kind that ``gpus_per_worker`` asks for; the first one waits a quarter of an hour. All
    that wait have been proposed, without the others' results, and run even when hours or patience
    are over: it should be near what machines can hold. None is what the cluster can place when
    trials begin."""

    placement: Literal["pack", "spread"] = "pack"
    """Where the workers of one trial stand: on as few machines as they fit on, or on as many as
    there are. They sum tensors at every step, which is faster within a machine."""

    leaders: Literal["head", "any"] = "head"
    """Where the process stands that leads a trial of several workers: on the cluster's head, so
    that a machine that is lost takes workers alone with it and the trial goes on from its last
    epoch; or beside its first worker, for a head without memory for so many."""

    rerun: RerunConfig = RerunConfig()

    ladder: Literal["linear", "none"] = "linear"
    """Simpler models that are fitted once, before the first trial, on the trials' folds and the
    default recipe: those without a network (``spectrum baselines`` fits the others)."""

    objectives: tuple[ObjectiveName, ...] = ("score",)
    """What is searched for; of several, the trials that no other one beats in all are told."""

    enqueue: tuple[dict[str, Any], ...] = ()
    """Points to run first, after the default configuration: values by config path; a parameter
    that is not named has its base value. One with a forbidden combination is refused."""

    warm_start: tuple[str, ...] = ()
    """Folders of earlier studies whose finished trials the sampler learns from. Trials with a
    parameter that this space does not have, or a value out of its range, are left out by name;
    those that ran with another configuration than their point has here, on other data, or with
    another version of the model or of a recipe's steps, lend their best points alone, which run
    first."""

    patience_trials: int | None = Field(default=None, ge=1)
    """Trials in a row that may end without a higher score; then no further one is proposed."""

    max_hours: float | None = Field(default=None, gt=0.0)
    """Hours of one session after which no further trial begins; those that run go on."""

    epoch_minutes: float | None = Field(default=None, gt=0.0)
    """Minutes that an epoch may take in a process, but for a trial's first one there, which may
    have to make a shard set, and what follows its last. A process that takes longer stands still
    and is ended: as one that died of itself, after which a trial begins again from its last epoch
    once (of several workers ``training.max_failures`` times), and then fails. None waits for
    ever."""

    sealed: float | tuple[str, ...] | None = None
    """Whom the search never sees: data sets by name, or the fraction of subjects of each data set
    that the seed draws. ``spectrum unseal`` scores the selected configuration on them, once. None
    seals no one, and the study's best score is then a maximum over its trials."""

    max_gpu_hours: float | None = Field(default=None, gt=0.0)
    """GPU hours of the whole study, re-runs and the trials that run included, after which no
    further trial begins; those that run go on. A trial takes its seconds times its GPUs, a part of
    one where it has a part, and none on a CPU."""

    stop_when: StopConfig = StopConfig()

    @property
    def disk_bytes(self) -> int | None:
        """``disk_gib`` in bytes."""
        return None if self.disk_gib is None else int(self.disk_gib * GIB)

    @field_validator("sealed", mode="before")
    @classmethod
    def _one_name_or_share(cls, value: Any) -> Any:
        """Take a text as one data set, a number or a text of one as a fraction."""
        if isinstance(value, str):
            with suppress(ValueError):
                return float(value)
            return (value,)
        if isinstance(value, list | tuple) and len(value) == 1 and _is_number(value[0]):
            return float(value[0])
        return value

    @field_validator("sealed")
    @classmethod
    def _seals_some(cls, value: Any) -> Any:
        if isinstance(value, float) and not 0.0 < value < 1.0:
            raise ValueError("a fraction lies between 0 and 1; give one, or names of data sets")
        if value == ():
            raise ValueError("names no data set; give one, a fraction, or null")
        return value

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.sampler == "auto":
            raise ValueError(
                "auto is AutoSampler, which Optuna downloads from OptunaHub when it is used; a "
                "study downloads no code. Take tpe, which AutoSampler takes too in most spaces"
            )
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives is empty or names one twice; name each once")
        if len(self.objectives) > 1 and self.stop_when.regret_below is not None:
            raise ValueError(
                "stop_when.regret_below bounds one objective, and objectives names several; "
                "take patience_trials or max_hours"
            )
        if self.objectives[0] != "score":
            raise ValueError(
                "objectives does not begin with score, which ranks the trials; add it"
            )
        return self


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
