"""One and two workers give the same losses: here with two plain processes over gloo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.training.place import Parallel
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import halves, planted_data, tiny_config

CONFIG = tiny_config(training__slice_drop_fraction=0.2, training__batch_size=7)
"""Seven sequences a batch: parts of three and four, and an uneven last batch."""


def fit(config: TrialConfig, parallel: Parallel) -> list[TrialEpochRecord]:
    torch.set_num_threads(1)
    data = planted_data(num_classes=3)
    return list(fit_trial(data, halves(data), config, parallel=parallel))


def work(rank: int, num_workers: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=num_workers
    )
    torch.save([_numbers(r) for r in fit(CONFIG, Parallel(rank, num_workers))], f"{folder}/{rank}")
    distributed.destroy_process_group()


def _numbers(record: TrialEpochRecord) -> list[float]:
    losses = [loss for fold in record.folds for loss in (fold.training_loss, fold.validation_loss)]
    probabilities = [
        p
        for fold in record.folds
        for prediction in fold.predictions
        for p in prediction.probabilities
    ]
    return [*losses, *probabilities]


def _read(path: Path) -> Sequence[Sequence[float]]:
    numbers: Sequence[Sequence[float]] = torch.load(path, weights_only=True)
    return numbers


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one(tmp_path: Path) -> None:
    alone = [_numbers(record) for record in fit(CONFIG, Parallel())]
    multiprocessing.start_processes(work, args=(2, str(tmp_path)), nprocs=2, start_method="spawn")
    first, second = (_read(tmp_path / str(rank)) for rank in (0, 1))
    assert first == second
    assert len(first) == len(alone)
    for one, two in zip(alone, first, strict=True):
        assert two == pytest.approx(one, abs=1e-4)
