"""What does a trial cost that does nothing?

    python -m tests.benchmarks.trial_overhead --json

Ours: trials of a study as it ships, through Ray Tune, with journal, records, successive halving
and TPE over ten parameters; once with Aim and once without. Peer: the documented way, a
``TorchTrainer`` inside each Tune trial, with OptunaSearch and the report callback, one worker a
trial; it keeps no journal and logs to nothing. Both report twice a trial, two trials at a time on
two CPUs, on the same Ray. Seconds are those of the whole search, by the number of trials.

    python -m tests.benchmarks.trial_overhead --json --workers 2 --trials 6

The same with trials of two workers, one at a time, each epoch a sum over both: ours on a warm
group, whose start counts too; the peer's trainer has two workers, which sum the same.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import ray

from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.tracker import Tracker
from spectrum.search.tune_adapters import run_trials
from spectrum.tracking import AimTracker

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import (
    NUM_REPORTS,
    NoOpObjective,
    no_op_space,
    sum_over_workers,
    told,
)
from tests.unit.search.fakes import ListTracker

GOALS = {"Aim on": 50.0, "Aim off": 80.0}
GOAL_OF_WORKERS = 1.5


def seconds_of_ours(
    folder: Path, num_trials: int, tracker: Tracker, *, num_workers: int = 1
) -> float:
    """Return seconds a trial of our study, the making of its files included."""
    begin = time.perf_counter()
    study = StudyFolder(folder)
    space = no_op_space(num_workers=num_workers)
    with study.locked():
        # What Aim follows is a study: one that has a manifest.
        study.write_manifest(build_manifest(space, name=folder.name, data={}))
        driver = StudyDriver(study, space, tracker, num_trials=num_trials)
        run_trials(driver, partial(NoOpObjective), folder=study, workers=(num_workers,))
        tracker.close()
    assert len(driver.lines) == num_trials
    return (time.perf_counter() - begin) / num_trials


def train_function(config: dict[str, Any]) -> None:
    """Train nothing, and report it; runs in the worker of the documented way."""
    import ray.train

    for epoch in range(NUM_REPORTS):
        if ray.train.get_context().get_world_size() > 1:
            sum_over_workers()
        ray.train.report({"score": config["lr"], "epoch": epoch})


def tune_function(config: dict[str, Any], storage: str, num_workers: int) -> None:
    """Run a trainer inside a trial, as Ray's guide to hyperparameter tuning says."""
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    trainer = TorchTrainer(
        train_function,
        train_loop_config=config,
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers),
        run_config=ray.train.RunConfig(
            name=f"train-{ray.tune.get_context().get_trial_id()}",
            storage_path=storage,
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def seconds_of_peer(folder: Path, num_trials: int, *, num_workers: int = 1) -> float:
    """Return seconds a trial of the documented way."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    function = tune.with_parameters(
        tune_function, storage=str(folder / "train"), num_workers=num_workers
    )
    tuner = tune.Tuner(
        # The trial itself only drives; all CPUs are for its workers.
        tune.with_resources(function, {"cpu": 0, "trial_driver": 1}),
        param_space={"lr": tune.loguniform(1e-4, 1e-2)},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=num_trials,
            max_concurrent_trials=2 // num_workers,
            search_alg=OptunaSearch(),
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder), verbose=0),
    )
    begin = time.perf_counter()
    with redirect_stdout(sys.stderr):
        results = tuner.fit()
    assert len(results) == num_trials
    assert not results.errors
    return (time.perf_counter() - begin) / num_trials


@contextmanager
def two_cpus() -> Iterator[Path]:
    """Start Ray with two CPUs; give a folder that is gone in the end."""
    ray.init(
        address="local",
        num_cpus=2,
        resources={"trial_driver": 2},
        # The trainer's cleaner asks the State API, which needs the dashboard.
        include_dashboard=True,
        logging_level=logging.ERROR,
        log_to_driver=False,
        object_store_memory=400 * 1024**2,
    )
    try:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
    finally:
        ray.shutdown()


def comparisons(num_ours: int, num_peer: int) -> Iterator[dict[str, Any]]:
    with two_cpus() as folder:
        # Both start with a Ray that has run something.
        seconds_of_ours(folder / "warm", 4, ListTracker())
        aim = AimTracker(folder, study="on")
        ours = {
            "Aim off": seconds_of_ours(folder / "off", num_ours, ListTracker()),
            "Aim on": seconds_of_ours(folder / "on", num_ours, aim),
        }
        peer = seconds_of_peer(folder / "peer", num_peer) if num_peer else float("nan")
    for case, seconds in ours.items():
        yield told(
            "trial_overhead",
            f"{case}: seconds a trial, {num_ours} of ours, {num_peer} nested",
            ours=round(seconds, 4),
            peer=round(peer, 3),
            ratio=round(peer / seconds, 1),
            goal=f"ratio >= {GOALS[case]:g}",
            met=bool(peer / seconds >= GOALS[case]),
        )


def comparison_of_workers(
    num_workers: int, num_ours: int, num_peer: int
) -> Iterator[dict[str, Any]]:
    with two_cpus() as folder:
        ours = seconds_of_ours(folder / "s", num_ours, ListTracker(), num_workers=num_workers)
        peer = seconds_of_peer(folder / "peer", num_peer, num_workers=num_workers)
    yield told(
        "trial_overhead",
        f"{num_workers} workers: seconds a trial, {num_ours} of ours, {num_peer} nested",
        ours=round(ours, 3),
        peer=round(peer, 3),
        ratio=round(peer / ours, 1),
        goal=f"ratio >= {GOAL_OF_WORKERS:g}",
        met=bool(peer / ours >= GOAL_OF_WORKERS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--peer-trials", type=int, default=6)
    parser.add_argument("--workers", type=int, choices=[1, 2], default=1, help="of a trial")
    arguments = parser.parse_args()
    numbers = (arguments.trials, arguments.peer_trials)
    several = arguments.workers > 1
    rows = comparison_of_workers(arguments.workers, *numbers) if several else comparisons(*numbers)
    for row in rows:
        text = json.dumps(row) if arguments.json else f"{row['case']}: {row['ours']} s"
        text += "" if arguments.json else f" beside {row['peer']} s, {row['ratio']} times"
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
