"""Data-parallel fits through Ray Train: the same loop on several workers, one batch over all.

Each worker draws the same batches and computes its part; gradients and predictions are summed by
``torch.distributed`` (gloo on CPUs, nccl on GPUs). Workers of one node share one copy of the
volumes where it fits. A worker that dies takes the others with it; all begin again from the last
state that the first one wrote, at most ``training.max_failures`` times. One that does not answer
for a minute counts as dead. Not here: where Ray is started or joined, which the caller has done;
and the workers of a trial of a search (``spectrum.search.worker_group``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import ray
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer

from spectrum.config import TrialConfig
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold
from spectrum.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    LeakageError,
    SpectrumError,
    TrainingError,
)
from spectrum.records import FoldRecord, TrialEpochRecord
from spectrum.targets import read_target
from spectrum.training.environment import environment
from spectrum.training.feeding import open_sequences
from spectrum.training.feeds import Sequences
from spectrum.training.node_copies import NodeCopies
from spectrum.training.place import Parallel, Place
from spectrum.training.record_lines import FollowedRecords, append_record, cut_to_lines
from spectrum.training.state_files import StateFolder
from spectrum.training.together import all_begin
from spectrum.training.trial import draw_trial_folds, fit_trial

__all__ = ["fit_trial_on_workers"]

RECORDS_NAME = "records.jsonl"
"""One line for each epoch, written by the first worker."""

RAY_NAME = "train"
"""Folder of Ray Train's own files, which nothing reads after the fit."""

STATE_NAME = "state"
"""Folder of the states of an unfinished fit."""

TIMES: Final = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
}
"""How often Ray Train looks at the workers (2 by its default), when one that does not answer is
given up (600), and how long they may take to start (60), unless the environment says otherwise."""

MET_BY_ALL = (CheckpointError, ConfigError, DataError, LeakageError, TrainingError)
"""Errors that all workers raise at the same step, so that none is left waiting for the others:
what one meets alone before the first step, ``together`` lets all raise."""

R = TypeVar("R")


def fit_trial_on_workers(
    shards: Path,
    config: TrialConfig,
    *,
    storage: Path,
    num_workers: int | None = None,
    folds: Sequence[Fold] | None = None,
    on_epoch: Callable[[TrialEpochRecord], None] | None = None,
) -> tuple[list[TrialEpochRecord], tuple[FoldRecord, ...]]:
    """Fit all folds of a trial on several workers; return its records.

    Parameters
    ----------
    shards : folder of the shard set, readable on every node
    storage : folder that every node can write
        Gets ``records.jsonl``, ``checkpoints/``, the states of the unfinished fit and Ray Train's
        own folder ``train/``. What an interrupted fit left there is gone on from.
    num_workers : >= 1, or None for ``training.workers``
        Each gets one CPU, and one GPU where ``training.device`` asks for it or Ray has enough.
    folds : or None to draw them from ``folds`` of the configuration
    on_epoch : called in this process with each record as it comes, without its predictions

    Raises
    ------
    ConfigError
        Where Ray has fewer CPUs or GPUs than workers, so that it would wait for ever.
    TrainingError
        Where a worker was lost, or the fit broke down.
    """
    num_workers = num_workers or config.training.workers
    job = {
        "shards": str(shards.absolute()),
        "config": config.model_dump(mode="json"),
        "folds": None if folds is None else tuple(folds),
        "storage": str(storage.absolute()),
        "max_failures": config.training.max_failures,
    }
    has_gpus = _has_gpus(config, num_workers)
    _check_resources(num_workers, has_gpus=has_gpus)
    storage.mkdir(parents=True, exist_ok=True)
    (storage / RECORDS_NAME).write_text("", encoding="utf-8")
    # Ray Train would take up what an earlier session left there; our state is the truth.
    shutil.rmtree(storage / RAY_NAME, ignore_errors=True)
    times = {name: value for name, value in TIMES.items() if name not in os.environ}
    trainer = _trainer(job, num_workers, has_gpus=has_gpus)
    with environment(times), FollowedRecords(storage / RECORDS_NAME, on_epoch or _ignore):
        result = _fit(trainer)
    if isinstance(result.return_value, SpectrumError):
        raise result.return_value
    epochs, records = result.return_value
    return epochs, records


def _ignore(record: TrialEpochRecord) -> None:
    """Take a record that nobody asked for."""


def _has_gpus(config: TrialConfig, num_workers: int) -> bool:
    if config.training.device != "auto":
        return config.training.device == "cuda"
    return bool(ray.cluster_resources().get("GPU", 0.0) >= num_workers)


def _check_resources(num_workers: int, *, has_gpus: bool) -> None:
    there = ray.cluster_resources()
    for kind in ("CPU", "GPU") if has_gpus else ("CPU",):
        count = there.get(kind, 0.0)
        if count < num_workers:
            raise ConfigError(
                f"training.workers is {num_workers}, but Ray has {count:g} {kind}s. "
                f"Each worker needs one {kind}: lower training.workers, or join a larger cluster."
            )


def _trainer(job: dict[str, Any], num_workers: int, *, has_gpus: bool) -> TorchTrainer:
    return TorchTrainer(
        _work,
        train_loop_config=job,
        torch_config=TorchConfig(backend="nccl" if has_gpus else "gloo"),
        scaling_config=train.ScalingConfig(num_workers=num_workers, use_gpu=has_gpus),
        run_config=train.RunConfig(
            name=RAY_NAME,
            storage_path=job["storage"],
            failure_config=train.FailureConfig(max_failures=job["max_failures"]),
        ),
    )


def _fit(trainer: TorchTrainer) -> Any:
    try:
        return trainer.fit()
    except train.TrainingFailedError as err:
        causes = [_cause(failure) for failure in getattr(err, "worker_failures", {}).values()]
        ours = [cause for cause in causes if isinstance(cause, SpectrumError)]
        if ours:
            raise ours[0] from err
        raise TrainingError(
            f"Ray Train ended with {str(err).splitlines()[-1]}. Expected all workers to finish; "
            "look at the worker's log under Ray's session folder, and at its memory."
        ) from err


def _cause(failure: BaseException) -> BaseException:
    """Return the error that a worker raised, out of what Ray put around it."""
    while (inner := getattr(failure, "cause", None) or failure.__cause__) is not None:
        failure = inner
    return failure


Fitted = tuple[list[TrialEpochRecord], tuple[FoldRecord, ...]]


def _work(job: dict[str, Any]) -> Fitted | SpectrumError:
    """Fit the trial as one worker among all.

    An error that every worker meets is returned, since Ray Train would begin again after one that
    is raised.
    """
    try:
        return _fit_own_part(job)
    except MET_BY_ALL as err:
        return err


def _fit_own_part(job: dict[str, Any]) -> Fitted:
    context = train.get_context()
    parallel = Parallel(rank=context.get_world_rank(), num_workers=context.get_world_size())
    config = TrialConfig.model_validate(job["config"])
    place = Place.choose(config.training, parallel)
    data, folds = all_begin(place, "the trial", lambda: _opened(job, config))
    storage = Path(job["storage"])
    fitting = fit_trial(
        data,
        folds,
        config,
        parallel=parallel,
        checkpoints=storage / "checkpoints",
        states=StateFolder(path=storage / STATE_NAME),
    )
    epochs: list[TrialEpochRecord] = []
    records = _collect(fitting, epochs, storage if parallel.rank == 0 else None)
    return epochs, records


def _collect(
    fitting: Generator[TrialEpochRecord, None, R],
    epochs: list[TrialEpochRecord],
    storage: Path | None,
) -> R:
    """Take all records; the first worker writes those that no attempt before it has written.

    Nothing is reported to Ray Train, which would hold each report back until it looks next.
    """
    num_written = 0 if storage is None else cut_to_lines(storage / RECORDS_NAME)
    while True:
        try:
            record = next(fitting)
        except StopIteration as stop:
            final: R = stop.value
            return final
        epochs.append(record)
        if storage is not None and len(epochs) > num_written:
            append_record(storage / RECORDS_NAME, record)


def _opened(job: dict[str, Any], config: TrialConfig) -> tuple[Sequences, Sequence[Fold]]:
    shards, target = ShardSet.open(Path(job["shards"])), read_target(config.target)
    data = open_sequences(shards, target, config, copies=NodeCopies()).data
    return data, job["folds"] or draw_trial_folds(data, config)
