"""A search over trials of one and of two workers, on a Ray of so many CPUs, as a program."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path

import ray

from spectrum.errors import SearchError
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.tune_adapters import run_trials
from tests.unit.search.fakes import NUM_EPOCHS, ListTracker, PlantedObjective

NUM_TRIALS = 8


def mixed_space() -> SearchSpace:
    return space_from_mapping(
        {
            "name": "mixed",
            "base": {"training": {"num_epochs": NUM_EPOCHS, "workers": 1}},
            "study": {"sampler": "random", "pruner": {"rule": "none"}, "rerun": {"top": 0}},
            "parameters": {"training.workers": {"choice": [1, 2]}},
        }
    )


def main() -> None:
    path, num_cpus = Path(sys.argv[1]), int(sys.argv[2])
    folder = StudyFolder(path)
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        object_store_memory=200 * 1024**2,
    )
    try:
        with folder.locked():
            driver = StudyDriver(folder, mixed_space(), ListTracker(), num_trials=NUM_TRIALS)
            run_trials(driver, partial(PlantedObjective), folder=folder, workers=(1, 2))
    except SearchError as err:
        print(err)
        sys.exit(err.exit_code)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
