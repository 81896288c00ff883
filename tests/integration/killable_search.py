"""A search with a planted objective on a Ray of its own, as a program that a test can kill."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path

import ray

from spectrum.errors import SearchError
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.tune_adapters import run_trials
from tests.unit.search.fakes import FileTracker, PlantedObjective, small_space


def main() -> None:
    path, num_trials = Path(sys.argv[1]), int(sys.argv[2])
    folder = StudyFolder(path)
    tracker = FileTracker(path.parent / "tracked")
    space = small_space(pruner={"rule": "halving", "min_epochs": 2, "reduction": 2})
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        with folder.locked():
            driver = StudyDriver(folder, space, tracker, num_trials=num_trials)
            run_trials(
                driver,
                partial(PlantedObjective, {4: "error"}, seconds_per_epoch=0.1),
                folder=folder,
                on_progress=lambda done, total: print(f"progress {done} {total}", flush=True),
            )
    except SearchError as err:
        sys.exit(err.exit_code)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
