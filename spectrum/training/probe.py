"""How long a step and a pass over the held-out side take here, by a short fit on random volumes.

What a step costs depends on the shapes alone, so that no shard set is needed. Not here: reading
volumes, which trials keep in memory, and how many steps a trial has (``spectrum.search``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from spectrum.config import TrialConfig
from spectrum.data.units import Fold, SequenceData, SequenceTable, Unit
from spectrum.entities import RunKey
from spectrum.training.feeds import build_feed
from spectrum.training.fold_fit import FoldFit
from spectrum.training.harmonising import trial_feed
from spectrum.training.place import Parallel, Place

__all__ = ["ProbedSeconds", "probe_fit"]

STEPS_PER_EPOCH: Final = 2
"""Optimiser steps between two readings of the clock."""

MAX_EPOCHS: Final = 6
"""Of these the first one, which warms up, is not counted."""

SPARE_VOLUMES: Final = 7
"""Volumes of the random run beyond one sequence: sequences begin at different ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedSeconds:
    """Measured seconds: of one step, of one pass of held-out sequences, and to begin a fold.

    ``batch_size`` and ``evaluation_batch_size`` are the sequences of each.
    """

    step_s: float
    evaluation_s: float
    begin_s: float
    batch_size: int
    evaluation_batch_size: int


def probe_fit(
    config: TrialConfig,
    volume_shape: tuple[int, int, int],
    *,
    num_classes: int,
    budget_s: float = 4.0,
    clock: Callable[[], float] = time.perf_counter,
) -> ProbedSeconds:
    """Fit a model to random volumes for a few steps, on one thread as trials do.

    Parameters
    ----------
    config : its model, batch sizes and device are taken; compilation and weights files are not
    volume_shape : S, H, W
    num_classes : K
    budget_s : seconds after which no further epoch begins; at least one is counted
    clock : seconds, monotonic

    Raises
    ------
    ConfigError
        Where no model can be built of configuration and shape, or there is no such device.
    """
    config = _short(config)
    place = Place.choose(config.training, Parallel())
    data, fold = _random_data(config, volume_shape, num_classes)
    with _one_thread():
        begin = clock()
        feed = trial_feed(build_feed(data, place.device, config.training), config.training)
        fit = FoldFit(feed, fold, config, place=place)
        begin_s = clock() - begin
        rounds = list(_timed_epochs(fit, begin + budget_s, clock))
    return ProbedSeconds(
        step_s=statistics.median(step for step, _ in rounds),
        evaluation_s=statistics.median(evaluation for _, evaluation in rounds),
        begin_s=begin_s,
        batch_size=config.training.batch_size,
        evaluation_batch_size=len(fold.validation),
    )


def _timed_epochs(
    fit: FoldFit, end: float, clock: Callable[[], float]
) -> Iterator[tuple[float, float]]:
    fit.advance()
    for index in range(1, MAX_EPOCHS):
        if index > 1 and clock() > end:
            return
        begin = clock()
        fit.evaluator.evaluate(fit.model, fit.fold.validation)
        evaluated = clock()
        fit.advance()
        evaluation_s = evaluated - begin
        step_s = (clock() - evaluated - evaluation_s) / STEPS_PER_EPOCH
        yield max(step_s, 0.0), evaluation_s


def _short(config: TrialConfig) -> TrialConfig:
    training = config.training.model_copy(
        update={
            "num_epochs": MAX_EPOCHS,
            "min_steps_per_epoch": STEPS_PER_EPOCH,
            "patience_epochs": None,
            "compile": False,
            "workers": 1,
        }
    )
    model = config.model.model_copy(update={"weights": None, "weights_sha256": None})
    return config.model_copy(update={"training": training, "model": model})


def _random_data(
    config: TrialConfig, volume_shape: tuple[int, int, int], num_classes: int
) -> tuple[SequenceData, Fold]:
    """Return sequences of one random run, a batch for training and one to be held out."""
    num_training = config.training.batch_size
    num_units = num_training + config.training.evaluation_batch_size
    num_volumes = config.sequences.num_volumes
    shape = (num_volumes + SPARE_VOLUMES, *volume_shape)
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    units = tuple(_unit(index, num_classes) for index in range(num_units))
    table = SequenceTable(
        units=units,
        classes=tuple(f"class {index}" for index in range(num_classes)),
        num_volumes=num_volumes,
        run_of_sequence=np.zeros(num_units, dtype=np.int64),
        start_of_sequence=np.arange(num_units) % (SPARE_VOLUMES + 1),
        unit_of_sequence=np.arange(num_units),
        tr_s_of_run=(2.0,),
        slice_step_mm_of_run=(4.0,),
    )
    data = SequenceData(
        slices_VSHW=values.astype(np.float16),
        first_volume_of_run=np.zeros(1, dtype=np.int64),
        table=table,
        paired=False,
        content_hash="random",
    )
    fold = Fold(
        name="probe",
        held_out="probe",
        training=tuple(range(num_training)),
        validation=tuple(range(num_training, num_units)),
        classes=tuple(range(num_classes)),
    )
    return data, fold


def _unit(index: int, num_classes: int) -> Unit:
    key = RunKey(dataset="probe", subject=f"{index}", task="probe")
    return Unit(key=key, name=f"{index}", pair="", class_index=index % num_classes, run_index=0)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
