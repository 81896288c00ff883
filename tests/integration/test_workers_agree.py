"""One and two workers give the same losses: here with two plain processes over gloo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.training.feeds import Sequences
from spectrum.training.place import Parallel
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import by_run, halves, planted_data, tiny_config

MODES = ("device", "node", "stream")

CONFIG = tiny_config(
    training__slice_drop_fraction=0.2,
    training__batch_size=7,
    training__rotation_degrees=5.0,
    training__shift_fraction=0.05,
    training__temporal_mask_fraction=0.3,
    training__spatial_mask_fraction=0.2,
    training__intensity_scale_fraction=0.1,
    training__intensity_shift_fraction=0.1,
    training__mixup_alpha=0.4,
    training__stream_gib=1e-5,
)
"""Seven sequences a batch: parts of unequal size, and an uneven last batch. All augmentations."""

HARMONISED = tiny_config(
    training__harmonisation="dataset",
    training__batch_size=7,
    training__stream_gib=1e-5,
    preprocessing__standardization="none",
)

CONFIGS = {"augmented": CONFIG, "harmonised": HARMONISED}


def data_of(mode: str) -> Sequences:
    data = planted_data(num_classes=3)
    return data if mode == "device" else by_run(data, is_in_memory=mode == "node")


def fit(config: TrialConfig, parallel: Parallel, mode: str = "device") -> list[TrialEpochRecord]:
    torch.set_num_threads(1)
    folds = halves(planted_data(num_classes=3))
    return list(fit_trial(data_of(mode), folds, config, parallel=parallel))


def work(rank: int, num_workers: int, folder: str, name: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=num_workers
    )
    for mode in MODES:
        records = fit(CONFIGS[name], Parallel(rank, num_workers), mode)
        numbers = [_numbers(record) for record in records]
        torch.save(numbers, f"{folder}/{mode}-{rank}")
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
@pytest.mark.parametrize(
    ("num_workers", "name"), [(2, "augmented"), (4, "augmented"), (2, "harmonised")]
)
def test_workers_give_the_numbers_of_one_in_every_mode(
    tmp_path: Path, num_workers: int, name: str
) -> None:
    alone = [_numbers(record) for record in fit(CONFIGS[name], Parallel())]
    multiprocessing.start_processes(
        work, args=(num_workers, str(tmp_path), name), nprocs=num_workers, start_method="spawn"
    )
    first, *others = (
        _read(tmp_path / f"{mode}-{rank}") for mode in MODES for rank in range(num_workers)
    )
    assert all(numbers == first for numbers in others)
    assert len(first) == len(alone)
    for one, two in zip(alone, first, strict=True):
        assert two == pytest.approx(one, abs=1e-4)
