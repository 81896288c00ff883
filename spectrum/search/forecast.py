"""What the trials of a search will cost: models, sequences, and seconds by a measured short fit.

Points are drawn at random from the space; the default configuration is the first. Seconds are for
trials that train all their epochs, so that early stopping makes a search shorter. Not here: disk
(``plan``), and the short fit itself (``spectrum.training.probe``).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from spectrum.config import PreprocessingConfig, SequencesConfig, TrialConfig
from spectrum.data.expected import expected_runs
from spectrum.data.folds import draw_folds
from spectrum.data.sequences import build_table, shape_in_plane
from spectrum.data.set_sizes import SizeEstimate
from spectrum.data.units import Fold, SequenceTable
from spectrum.errors import ConfigError, TargetError
from spectrum.search.space import SearchSpace
from spectrum.targets import Target

if TYPE_CHECKING:
    from spectrum.training.probe import ProbedSeconds

__all__ = [
    "Forecaster",
    "Machine",
    "PointCost",
    "Probe",
    "StepTimes",
    "Workload",
    "forecast",
    "reruns_at_most",
]

NUM_POINTS: Final = 20
"""Points that are counted, the default configuration among them."""

TRAINING_FLOPS: Final = 3
"""Arithmetic of a training step over that of a forward pass."""

PROBE_FLOPS: Final = 5e9
"""Arithmetic of a probed step on a CPU at most, about half a second of a slow core; larger batches
are probed in part. A GPU takes them whole."""

GIGA: Final = 1e9
LEAST: Final = 1e-9
"""Rate below which a clock has told nothing."""

SECONDS_PER_HOUR: Final = 3600.0

TOLD_WHERE_KNOWN: Final = (
    "parameters",
    "gflop_of_trial",
    "seconds_per_trial",
    "hours",
    "rerun_hours",
    "probe",
)
"""What a forecast holds null for where it is not known or was not measured."""


class Probe(Protocol):
    """Measures a short fit."""

    def __call__(
        self, config: TrialConfig, volume_shape: tuple[int, int, int], *, num_classes: int
    ) -> ProbedSeconds:
        """Fit a model of a configuration to volumes of a shape (S, H, W) for a few steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a search would run: trials at a time (None is not known), on a GPU or not.

    ``shares_gpu`` is whether trials share one, which the probe does not. ``probe``
    measures a short fit; None measures nothing, and then no time is told.
    """

    num_concurrent: int | None = None
    has_gpu: bool = False
    shares_gpu: bool = False
    probe: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a configuration goes through: shape of a sequence, classes, sequences of each fold."""

    shape_TSHW: tuple[int, int, int, int]
    num_classes: int
    training_of_fold: tuple[int, ...]
    validation_of_fold: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointCost:
    """One configuration, its workload, and the cost of its model."""

    config: TrialConfig
    workload: Workload
    num_parameters: int
    flops_per_sequence: int

    @property
    def gflop_of_step(self) -> float:
        """Arithmetic of one optimiser step, 10^9."""
        batch = self.config.training.batch_size
        return TRAINING_FLOPS * batch * self.flops_per_sequence / GIGA

    @property
    def gflop_of_trial(self) -> float:
        """Arithmetic of all folds and epochs, 10^9."""
        work, flops = self.workload, self.flops_per_sequence / GIGA
        steps = sum(self.steps_of_fold)
        held_out = sum(work.validation_of_fold) * flops
        return self.config.training.num_epochs * (steps * self.gflop_of_step + held_out)

    @property
    def steps_of_fold(self) -> tuple[int, ...]:
        """Optimiser steps of an epoch of each fold."""
        from spectrum.training.batches import num_steps

        training = self.config.training
        return tuple(
            num_steps(
                count, batch_size=training.batch_size, min_steps=training.min_steps_per_epoch
            )
            for count in self.workload.training_of_fold
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """Seconds for 10^9 operations of steps and of held-out passes, by the size of the model.

    Small models do less arithmetic a second than large ones. Between the probed sizes, operations
    of one sequence, the rate is interpolated on logarithmic scales; beyond them it is that of the
    nearest. ``begin_s`` is what a fold takes to begin.
    """

    sizes: tuple[float, ...]
    step_rates: tuple[float, ...]
    pass_rates: tuple[float, ...]
    begin_s: float

    @classmethod
    def fitted(cls, probed: Sequence[tuple[PointCost, ProbedSeconds]]) -> StepTimes:
        """Take the rates of probed points, one at least."""
        order = sorted(probed, key=lambda pair: pair[0].flops_per_sequence)
        gflops = [cost.flops_per_sequence / GIGA for cost, _ in order]
        pairs = list(zip(gflops, (found for _, found in order), strict=True))
        return cls(
            sizes=tuple(gflops),
            step_rates=tuple(f.step_s / (TRAINING_FLOPS * g * f.batch_size) for g, f in pairs),
            pass_rates=tuple(f.evaluation_s / (g * f.evaluation_batch_size) for g, f in pairs),
            begin_s=statistics.fmean(found.begin_s for _, found in order),
        )

    def seconds_of(self, cost: PointCost) -> float:
        """Return the seconds of a trial that trains all epochs of all folds.

        Several workers share each batch; what they wait for each other is not counted.
        """
        work, gflop = cost.workload, cost.flops_per_sequence / GIGA
        steps_s = self._rate(self.step_rates, gflop) * cost.gflop_of_step * sum(cost.steps_of_fold)
        passes_s = self._rate(self.pass_rates, gflop) * gflop * sum(work.validation_of_fold)
        training = cost.config.training
        epochs_s = training.num_epochs * (steps_s + passes_s) / training.workers
        return epochs_s + self.begin_s * len(work.training_of_fold)

    def _rate(self, rates: tuple[float, ...], gflop: float) -> float:
        log_rate = np.interp(np.log(gflop), np.log(self.sizes), np.log(np.maximum(rates, LEAST)))
        return float(np.exp(log_rate))


class Forecaster:
    """Costs of points over the same runs; each recipe and way of cutting is looked at once.

    Parameters
    ----------
    estimate : of the runs that the search will use
    target : gives each run, or each event, its class
    """

    def __init__(self, estimate: SizeEstimate, target: Target) -> None:
        self._estimate, self._target = estimate, target
        self._cuts: dict[tuple[Any, ...], tuple[SequenceTable, tuple[Fold, ...]]] = {}

    def folds(self, config: TrialConfig) -> tuple[Fold, ...]:
        """Return the folds that a configuration will have, as far as headers tell."""
        return self._cut(config)[1]

    def points(self, space: SearchSpace) -> tuple[list[PointCost], list[str]]:
        """Return the costs of sampled points, the default's first, and why others have none."""
        from spectrum.search.optuna_study import sample_points

        drawn = [space.default_point, *sample_points(space, NUM_POINTS - 1, seed=space.study.seed)]
        found: list[PointCost] = []
        refused: list[str] = []
        for point in drawn:
            try:
                found.append(self.cost_of(space.config(point)))
            except (ConfigError, TargetError) as err:
                refused.append(str(err))
        return found, refused

    def cost_of(self, config: TrialConfig) -> PointCost:
        """Return the cost of one configuration.

        Raises
        ------
        ConfigError, TargetError
            Where no model can be built of it, or no fold be drawn.
        """
        from spectrum.model.cost import count_model

        table, folds = self._cut(config)
        runs = expected_runs(self._estimate, config.preprocessing)
        shape_SHW = shape_in_plane(runs[0].shape_SHW, config.sequences.plane)
        work = Workload(
            shape_TSHW=(table.num_volumes, *shape_SHW),
            num_classes=len(table.classes),
            training_of_fold=tuple(len(table.sequences_of(fold.training)) for fold in folds),
            validation_of_fold=tuple(len(table.sequences_of(fold.validation)) for fold in folds),
        )
        cost = count_model(config.model, work.shape_TSHW, work.num_classes)
        return PointCost(
            config=config,
            workload=work,
            num_parameters=cost.num_parameters,
            flops_per_sequence=cost.flops_per_sequence,
        )

    def _cut(self, config: TrialConfig) -> tuple[SequenceTable, tuple[Fold, ...]]:
        key = (_of_cut(config.preprocessing), _of_cut(config.sequences), config.folds)
        if key not in self._cuts:
            runs = expected_runs(self._estimate, config.preprocessing)
            table = build_table(runs, self._target, config.sequences)
            folds = draw_folds(table, config.folds, paired=self._target.paired)
            self._cuts[key] = (table, folds)
        return self._cuts[key]


def _of_cut(config: PreprocessingConfig | SequencesConfig) -> str:
    return config.model_dump_json()


def reruns_at_most(space: SearchSpace, num_trials: int) -> int:
    """Return the re-runs that a study adds at most: of the best, and the default beside."""
    rerun = space.study.rerun
    if not rerun.top:
        return 0
    return min(num_trials, rerun.top + 1) * rerun.seeds


def probe_points(
    costs: Sequence[PointCost], probe: Probe, *, has_gpu: bool
) -> list[tuple[PointCost, ProbedSeconds]]:
    """Measure the default and the points of the largest and of the smallest model."""
    order = sorted(costs, key=lambda cost: cost.flops_per_sequence)
    chosen = {cost.flops_per_sequence: cost for cost in (order[0], order[-1], costs[0])}
    return [(cost, _probed(cost, probe, has_gpu=has_gpu)) for cost in chosen.values()]


def _probed(cost: PointCost, probe: Probe, *, has_gpu: bool) -> ProbedSeconds:
    work, training = cost.workload, cost.config.training
    update = {}
    if not has_gpu:
        room = max(1, int(PROBE_FLOPS / (TRAINING_FLOPS * cost.flops_per_sequence)))
        update = {
            "batch_size": min(training.batch_size, room),
            "evaluation_batch_size": min(training.evaluation_batch_size, room),
        }
    config = cost.config.model_copy(update={"training": training.model_copy(update=update)})
    return probe(config, work.shape_TSHW[1:], num_classes=work.num_classes)


def forecast(
    space: SearchSpace,
    forecaster: Forecaster,
    *,
    num_trials: int,
    machine: Machine,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Return the cost of a search as plain JSON.

    Parameters
    ----------
    num_trials : of the study, re-runs not
    machine : where it would run
    clock : seconds, monotonic

    Returns
    -------
    cost : ``parameters`` and ``gflop_of_trial`` of the default, and the least, median and most
        over the points; ``seconds_per_trial`` likewise and ``hours`` for all, both null without a
        probe; ``refused_points`` says why models of some points cannot be built
    """
    costs, refused = forecaster.points(space)
    reruns = reruns_at_most(space, num_trials)
    told: dict[str, Any] = {
        "num_points": len(costs),
        "refused_points": refused,
        "reruns_at_most": reruns,
        "num_concurrent": machine.num_concurrent,
        "shares_gpu": machine.shares_gpu,
        **dict.fromkeys(TOLD_WHERE_KNOWN),
    }
    if not costs:
        return told
    told["parameters"] = _spread([cost.num_parameters for cost in costs])
    told["gflop_of_trial"] = _spread([round(cost.gflop_of_trial, 3) for cost in costs])
    if machine.probe is None:
        return told
    begin = clock()
    probed = probe_points(costs, machine.probe, has_gpu=machine.has_gpu)
    times = StepTimes.fitted(probed)
    seconds = [times.seconds_of(cost) for cost in costs]
    hours = statistics.fmean(seconds) / SECONDS_PER_HOUR
    at_a_time = _at_a_time(costs, seconds, machine)
    return {
        **told,
        "seconds_per_trial": _spread([round(value, 2) for value in seconds]),
        "hours": math.ceil(num_trials / at_a_time) * hours,
        "rerun_hours": math.ceil(reruns / at_a_time) * hours,
        "probe": {"seconds": round(clock() - begin, 2), "steps": _steps(probed)},
    }


def _at_a_time(costs: Sequence[PointCost], seconds: Sequence[float], machine: Machine) -> float:
    """Return how many trials of the space run at a time on average, >= 1.

    The machine tells it of trials of the fewest workers; the others take more of its places, each
    for as long as it runs.
    """
    workers = [cost.config.training.workers for cost in costs]
    places = (machine.num_concurrent or 1) * min(workers)
    worker_seconds = [count * each for count, each in zip(workers, seconds, strict=True)]
    return max(1.0, places * sum(seconds) / sum(worker_seconds))


def _steps(probed: Sequence[tuple[PointCost, ProbedSeconds]]) -> list[dict[str, float]]:
    return [
        {
            "gflop": TRAINING_FLOPS * cost.flops_per_sequence * found.batch_size / GIGA,
            "seconds": found.step_s,
        }
        for cost, found in probed
    ]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "default": values[0],
        "least": min(values),
        "median": statistics.median(values),
        "most": max(values),
    }
