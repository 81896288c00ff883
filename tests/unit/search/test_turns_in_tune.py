"""Turns in Ray Tune itself: small trials let a large one begin, twice if it loses its process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path

import psutil
import pytest

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.first_points import first_trials
from spectrum.search.folder import StudyFolder
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.trials import TrialEnd
from spectrum.search.tune_adapters import run_trials
from spectrum.search.turns import PATIENCE_S
from tests.unit.search.fakes import ListTracker, epoch_record, trial_end
from tests.unit.search.test_driver import lines_of

LARGE = 1
"""The trial of two workers, the first after the default; all others have one."""

LEADER = "ray::ResourceTrainable.train"
"""How the process of a trial is called that Tune began, while it trains."""

SECONDS = 5.0
NUM_AT_ONCE = 2
"""Small trials that two CPUs run at a time."""

NUM_SMALL = int(2 * NUM_AT_ONCE * PATIENCE_S / SECONDS) + 4
"""More than end while the large one is patient, twice."""


def space() -> SearchSpace:
    """Trials whose sizes are known: points are enqueued that no other one is the same as."""
    sizes = [2, *[1] * NUM_SMALL]
    points = [
        {"training.workers": size, "optimizer.lr": 1e-3 * (1 + index)}
        for index, size in enumerate(sizes, start=1)
    ]
    return space_from_mapping(
        {
            "name": "turns",
            "base": {"training": {"num_epochs": 1, "workers": 1}, "optimizer": {"lr": 1e-3}},
            "study": {
                "sampler": "random",
                "pruner": {"rule": "none"},
                "rerun": {"top": 0},
                "concurrent_trials": NUM_AT_ONCE + 1,
                "enqueue": points,
            },
            "parameters": {
                "training.workers": {"choice": [1, 2]},
                "optimizer.lr": {"log_uniform": [1e-3, 1e-1]},
            },
        }
    )


class SleepingObjective:
    """Sleeps; the first time that the large trial runs, the process that leads it is killed."""

    def __init__(self, folder: Path) -> None:
        self.has_killed = folder / "has_killed"

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        if number == LARGE and rank == 0 and not self.has_killed.exists():
            self.has_killed.touch()
            kill_leader()
        time.sleep(SECONDS)
        yield epoch_record(0, 0.5, finished=True)
        return trial_end(number, 0.5)


def kill_leader() -> None:
    """Kill the process that leads this trial; beside it no other one trains."""
    for process in psutil.Process(os.getppid()).children():
        if process.cmdline()[0].rstrip() == LEADER:
            process.send_signal(signal.SIGKILL)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_large_trial_gets_its_places_and_gets_them_again_when_it_has_lost_its_process(
    tmp_path: Path,
) -> None:
    folder, tracker = StudyFolder(tmp_path / "s"), ListTracker()
    with folder.locked():
        first_points = partial(first_trials, space())
        driver = StudyDriver(
            folder, space(), tracker, num_trials=NUM_SMALL + 2, first=first_points
        )
        run_trials(
            driver,
            partial(SleepingObjective, tmp_path),
            folder=folder,
            workers=(1, 2),
            settings=space().study,
        )
    assert {line["state"] for line in lines_of(folder.path)} == {"complete"}
    first, again = (at for at, number in enumerate(tracker.starts) if number == LARGE)
    assert first > NUM_AT_ONCE
    assert len(tracker.starts[again + 1 :]) >= NUM_AT_ONCE
