"""Sets that are made inside actors and trials, which hold CPUs themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum.data.bids import index_bids
from spectrum.data.pipeline import Making, PrepareResult, prepare
from tests.unit.data.tiny_sets import RECIPE, prepare_tree

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def root(tiny_bids: Callable[..., Path]) -> Path:
    return tiny_bids()


@pytest.fixture
def shards_root(tmp_path: Path) -> Path:
    return tmp_path / "shards"


def test_of_two_trials_that_hold_every_cpu_and_want_the_same_set_one_makes_it(
    root: Path, shards_root: Path
) -> None:
    """Neither asks for a CPU beside those of the trials."""
    import ray

    @ray.remote(num_cpus=1)
    class Trial:
        def run(self, root: str, shards_root: str) -> PrepareResult:
            table = index_bids([Path(root)])
            return prepare(
                table, RECIPE, shards_root=Path(shards_root), how=Making(cpus_per_run=0.0)
            )

    trials = [Trial.remote() for _ in range(2)]
    try:
        results = ray.get(
            [trial.run.remote(str(root), str(shards_root)) for trial in trials], timeout=120
        )
    finally:
        for trial in trials:
            ray.kill(trial)
    assert sorted(result.reused for result in results) == [False, True]
    assert [result.num_runs for result in results] == [4, 4]
    assert results[0].shards == results[1].shards
    assert len(list(shards_root.glob("*/manifest.json"))) == 1


@pytest.mark.slow
def test_tune_trials_can_prepare_inside_their_own_resources(root: Path, shards_root: Path) -> None:
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        result = prepare_tree(root, shards_root, how=Making(cpus_per_run=0.0))
        tune.report({"runs": result.num_runs, "reused": result.reused})

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        tune_config=tune.TuneConfig(num_samples=2),
        run_config=tune.RunConfig(storage_path=str(shards_root.with_name("tune")), verbose=0),
    )
    metrics = [result.metrics for result in tuner.fit()]
    assert [m["runs"] for m in metrics] == [4, 4]
    assert sorted(m["reused"] for m in metrics) == [False, True]
