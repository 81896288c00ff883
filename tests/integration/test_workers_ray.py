"""Workers of Ray Train: the same numbers as one process, and errors that arrive as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.config import TrialConfig
from spectrum.data.bids import index_bids
from spectrum.data.folds import draw_folds
from spectrum.data.pipeline import prepare
from spectrum.data.sequences import read_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold, SequenceData
from spectrum.errors import ConfigError, LeakageError
from spectrum.records import FoldRecord, TrialEpochRecord
from spectrum.targets import read_target
from spectrum.training.checkpoints import read_checkpoint
from spectrum.training.trial import fit_trial
from spectrum.training.workers import fit_trial_on_workers
from tests.tiny_bids import TASK

pytestmark = pytest.mark.ray

RUNS = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2, 3, 4) for r in (1, 2)}
CONFIG = TrialConfig.model_validate(
    {
        "folds": {"scheme": "leave-one-subject-out"},
        "preprocessing": {"voxel_mm": 20.0, "high_pass_hz": 0.0},
        "sequences": {"num_volumes": 3, "stride": 2},
        "training": {"num_epochs": 2, "batch_size": 7, "min_steps_per_epoch": 4, "workers": 2},
    }
)


@pytest.fixture
def shards(tiny_bids: Callable[..., Path], tmp_path: Path, ray_session: None) -> ShardSet:
    table = index_bids([tiny_bids(runs=RUNS)])
    prepared = prepare(table, CONFIG.preprocessing, shards_root=tmp_path / "shards")
    return ShardSet.open(prepared.shards)


def read(shards: ShardSet) -> tuple[SequenceData, tuple[Fold, ...]]:
    data = read_sequences(shards, read_target(CONFIG.target), CONFIG.sequences)
    return data, draw_folds(data.table, CONFIG.folds, paired=True)


def fit_alone(shards: ShardSet) -> tuple[list[TrialEpochRecord], tuple[FoldRecord, ...]]:
    fitting = fit_trial(*read(shards), CONFIG)
    records = []
    while True:
        try:
            records.append(next(fitting))
        except StopIteration as stop:
            return records, stop.value


@pytest.mark.slow
def test_two_workers_of_ray_train_give_the_numbers_of_one_process(
    shards: ShardSet, tmp_path: Path
) -> None:
    seen: list[TrialEpochRecord] = []
    records, folds = fit_trial_on_workers(
        shards.path, CONFIG, storage=tmp_path / "fit", on_epoch=seen.append
    )
    alone, folds_alone = fit_alone(shards)
    for one, two in zip(alone, records, strict=True):
        for fold_one, fold_two in zip(one.folds, two.folds, strict=True):
            assert fold_two.training_loss == pytest.approx(fold_one.training_loss, abs=1e-4)
            assert fold_two.validation_loss == pytest.approx(fold_one.validation_loss, abs=1e-4)
    assert [f.fold for f in folds] == [f.fold for f in folds_alone]
    assert [record.finished for record in seen] == [False, True]
    assert [record.score for record in seen] == [record.score for record in records]
    lines = (tmp_path / "fit/records.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]
    for fold in folds:
        assert read_checkpoint(Path(fold.checkpoint))[1].fold == fold.fold


@pytest.mark.slow
def test_an_error_of_a_worker_arrives_as_it_was_raised(shards: ShardSet, tmp_path: Path) -> None:
    _, (fold, *_) = read(shards)
    leaking = replace(fold, training=(*fold.training, fold.validation[0]))
    with pytest.raises(LeakageError, match="stand in training and in validation"):
        fit_trial_on_workers(shards.path, CONFIG, storage=tmp_path / "fit", folds=[leaking])


def test_more_workers_than_ray_has_cpus_are_refused_at_once(
    tmp_path: Path, ray_session: None
) -> None:
    with pytest.raises(ConfigError, match=r"workers is 3, but Ray has 2 CPUs.*lower training"):
        fit_trial_on_workers(tmp_path, CONFIG, storage=tmp_path / "fit", num_workers=3)
