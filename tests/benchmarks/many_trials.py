"""Does a study of thousands of short trials stay fast and small?

    python -m tests.benchmarks.many_trials --json

Trials of 10 ms through Ray Tune with journal, records, successive halving and TPE over ten
parameters. ``ours`` is a figure over the last 500 trials, ``peer`` the same figure over the first
500, in the same run: seconds a trial, seconds a proposal, and memory of the driver's process.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray

from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.tune_adapters import run_trials

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import NoOpObjective, no_op_space, told
from tests.unit.search.fakes import ListTracker

SECONDS_PER_TRIAL = 0.01
GOAL_GROWTH = 1.3
PART = 500


class TimedDriver(StudyDriver):
    """Notes how long each proposal takes."""

    seconds: list[float]

    def next_trial(self) -> tuple[int, dict[str, Any]] | None:
        begin = time.perf_counter()
        found = super().next_trial()
        self.seconds.append(time.perf_counter() - begin)
        return found


def comparisons(num_trials: int) -> Iterator[dict[str, Any]]:
    ended: list[float] = []
    mib_at: dict[int, float] = {}

    def note(done: int, total: int) -> None:
        ended.append(time.perf_counter())
        if done in (PART, num_trials):
            mib_at[done] = psutil.Process().memory_info().rss / 2**20

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        object_store_memory=400 * 1024**2,
    )
    with tempfile.TemporaryDirectory() as name:
        study = StudyFolder(Path(name) / "many")
        with study.locked():
            driver = TimedDriver(study, no_op_space(), ListTracker(), num_trials=num_trials)
            driver.seconds = []
            run_trials(
                driver,
                partial(NoOpObjective, SECONDS_PER_TRIAL),
                folder=study,
                on_progress=note,
            )
    ray.shutdown()
    assert len(driver.lines) == num_trials
    first, last = ended[PART] - ended[0], ended[-1] - ended[-1 - PART]
    yield _row("seconds a trial", last / PART, first / PART, num_trials, None)
    proposals = driver.seconds[:num_trials]
    yield _row(
        "seconds a proposal",
        statistics.median(proposals[-PART:]),
        statistics.median(proposals[:PART]),
        num_trials,
        None,
    )
    yield _row("driver's MiB", mib_at[num_trials], mib_at[PART], num_trials, GOAL_GROWTH)


def _row(
    what: str, last: float, first: float, num_trials: int, goal: float | None
) -> dict[str, Any]:
    ratio = last / first
    return told(
        "many_trials",
        f"{what}, trials {num_trials - PART} to {num_trials} beside the first {PART}",
        ours=round(last, 4),
        peer=round(first, 4),
        ratio=round(ratio, 3),
        goal=f"ratio <= {goal:g}" if goal else "told",
        met=goal is None or ratio <= goal,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--trials", type=int, default=2000)
    arguments = parser.parse_args()
    for row in comparisons(arguments.trials):
        text = f"{row['case']}: {row['ours']} beside {row['peer']}"
        sys.stdout.write((json.dumps(row) if arguments.json else text) + "\n")


if __name__ == "__main__":
    main()
