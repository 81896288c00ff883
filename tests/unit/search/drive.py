"""Runs a study's trials in this process, without Ray, through the driver's own calls.

Run as a program it is what a kill test kills: ``python -m tests.unit.search.drive FOLDER NUMBER``;
with ``MOMENT TRIAL`` after that it kills itself there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spectrum.config import TrialConfig
from spectrum.search.driver import Moment, StudyDriver
from spectrum.search.first_points import FirstTrials
from spectrum.search.folder import StudyFolder
from spectrum.search.space import SearchSpace
from spectrum.search.tracker import Tracker
from spectrum.search.trials import Failure, Objective
from tests.unit.search.fakes import FileTracker, PlantedObjective, small_space


def drive(
    path: Path,
    *,
    num_trials: int,
    tracker: Tracker,
    space: SearchSpace | None = None,
    objective: Objective | None = None,
    at: Callable[[Moment, int], None] = lambda moment, number: None,
    first: Callable[[], FirstTrials] = FirstTrials,
) -> StudyDriver:
    """Run what a study has left, one trial at a time; return its driver."""
    folder = StudyFolder(path)
    with folder.locked():
        driver = StudyDriver(
            folder, space or small_space(), tracker, num_trials=num_trials, at=at, first=first
        )
        while driver.fatal is None and (found := driver.next_trial()) is not None:
            run_one(driver, *found, objective or PlantedObjective())
        driver.close()
    return driver


def run_one(driver: StudyDriver, number: int, config: dict, objective: Objective) -> None:
    """Run one trial to its end."""
    driver.start(number)
    epochs = objective(number, TrialConfig.model_validate(config))
    try:
        while True:
            record = next(epochs)
            stop = not record.finished and driver.should_stop(number, record)
            driver.log_epoch(number, record)
            if stop:
                break
    except StopIteration as end:
        driver.conclude(number, end.value)
    except Exception as err:
        driver.fail(number, Failure(kind=type(err).__name__, message=str(err)))
    driver.finish(number)


def main() -> None:
    path, num_trials, *doom = Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
    print("begun", flush=True)
    begin = time.monotonic()
    tracker = FileTracker(path.parent / "tracked")
    drive(
        path,
        num_trials=num_trials,
        tracker=tracker,
        space=small_space(seed=5),
        objective=PlantedObjective({2: "error"}, seconds_per_epoch=0.002),
        at=lambda moment, number: _die() if [moment, str(number)] == doom else None,
    )
    print(f"done {time.monotonic() - begin:.3f}", flush=True)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
