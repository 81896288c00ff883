"""A search over trials of one and two workers on a cluster, as a program that tells what it sees.

    python -m tests.faults.node_study FOLDER ADDRESS TRIALS

``FOLDER`` gets the study, and ``where/NUMBER.RANK`` for each process of a trial: the raylet that
it belongs to. ``FOLDER/pace`` says how many seconds an epoch takes. Printed with the moment of
each: ``started NUMBER``, ``epoch NUMBER``, ``ended NUMBER`` and ``nodes COUNT``.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig
from spectrum.launch import joined_ray
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.shared_storage import check_nodes_see
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.trials import TrialEnd
from spectrum.search.tune_adapters import run_trials
from tests.unit.search.fakes import NUM_EPOCHS, ListTracker, epoch_record, trial_end

SECONDS_BETWEEN_LOOKS = 0.2


def space() -> SearchSpace:
    return space_from_mapping(
        {
            "name": "nodes",
            "base": {"training": {"num_epochs": NUM_EPOCHS, "workers": 1}},
            "study": {"sampler": "random", "pruner": {"rule": "none"}, "rerun": {"top": 0}},
            "parameters": {"training.workers": {"choice": [1, 2]}},
        }
    )


class PacedObjective:
    """Takes as long as a file says, and sums over its workers at each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        for epoch in range(NUM_EPOCHS):
            (self.folder / f"where/{number}.{rank}").write_text(str(os.getppid()))
            time.sleep(float((self.folder / "pace").read_text()))
            if config.training.workers > 1:
                import torch

                torch.distributed.all_reduce(torch.ones(1))
            yield epoch_record(epoch, 0.5, finished=epoch == NUM_EPOCHS - 1)
        return trial_end(number, 0.5)


class TellingTracker(ListTracker):
    """Prints what it is told, as soon as it is."""

    def start_trial(self, number: int, **told: Any) -> None:
        super().start_trial(number, **told)
        tell("started", number)

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        super().log_epoch(number, record)
        tell("epoch", number)

    def finish_trial(self, number: int, line: Mapping[str, Any], *, tags: Sequence[str]) -> None:
        super().finish_trial(number, line, tags=tags)
        tell("ended", number)


def tell(what: str, number: int) -> None:
    print(what, number, time.time(), flush=True)


def watch_nodes(is_over: threading.Event) -> None:
    import ray

    before = 0
    while not is_over.wait(SECONDS_BETWEEN_LOOKS):
        now = sum(node["Alive"] for node in ray.nodes())
        if now != before:
            tell("nodes", now)
        before = now


def main() -> None:
    folder, address, num_trials = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    study, is_over = StudyFolder(folder / "study"), threading.Event()
    with joined_ray(address), study.locked():
        check_nodes_see([study.path, folder / "where"])
        watcher = threading.Thread(target=watch_nodes, args=(is_over,))
        watcher.start()
        try:
            driver = StudyDriver(study, space(), TellingTracker(), num_trials=num_trials)
            run_trials(driver, partial(PacedObjective, folder), folder=study, workers=(1, 2))
        finally:
            is_over.set()
            watcher.join()


if __name__ == "__main__":
    main()
