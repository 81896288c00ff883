"""A worker of Ray Train killed in mid epoch: the weights of an undisturbed fit, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.config import TrialConfig, set_paths
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.records import FoldRecord
from spectrum.training.workers import fit_trial_on_workers
from tests.integration.test_workers_ray import CONFIG, RUNS
from tests.killed_workers import fit_with_kills

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def config_of(**paths: object) -> TrialConfig:
    given = {name.replace("__", "."): value for name, value in paths.items()}
    return TrialConfig.model_validate(set_paths(CONFIG.model_dump(mode="json"), given))


@pytest.fixture
def shards(tiny_bids: Callable[..., Path], tmp_path: Path, ray_session: None) -> Path:
    table = index_bids([tiny_bids(runs=RUNS)])
    return prepare(table, CONFIG.preprocessing, shards_root=tmp_path / "shards").shards


def weights(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.safetensors"))
    }


def plain(folds: tuple[FoldRecord, ...]) -> list[FoldRecord]:
    return [replace(fold, checkpoint="") for fold in folds]


@pytest.mark.parametrize("num_kills", [5])
def test_killed_workers_leave_the_weights_of_an_undisturbed_fit(
    shards: Path, tmp_path: Path, num_kills: int
) -> None:
    config = config_of(
        folds__scheme="grouped-k-fold",
        folds__num_folds=2,
        training__num_epochs=10,
        training__min_steps_per_epoch=10,
        training__max_failures=num_kills,
        model__drop_rate=0.1,
    )
    records, folds = fit_trial_on_workers(shards, config, storage=tmp_path / "calm")
    killed, killed_folds, kills = fit_with_kills(
        shards, config, tmp_path / "killed", num_kills=num_kills
    )
    assert len(kills.recovered_s) == num_kills
    assert killed == records
    assert plain(killed_folds) == plain(folds)
    assert weights(tmp_path / "killed/checkpoints") == weights(tmp_path / "calm/checkpoints")
    lines = (tmp_path / "killed/records.jsonl").read_text().splitlines()
    assert lines == (tmp_path / "calm/records.jsonl").read_text().splitlines()
