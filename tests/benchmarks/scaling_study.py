"""A search over trials that sleep, on a cluster, as a program that tells what it cost its driver.

    python -m tests.benchmarks.scaling_study JSON

``JSON`` has ``folder`` (gets the study), ``address``, ``num_trials``, ``seconds`` of a trial and
``num_reports`` of each. Printed, as JSON: begin and end of each trial, the CPU seconds of this
process while the trials ran and of the process that writes to Aim, and the seconds of each
proposal.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from spectrum.config import TrialConfig
from spectrum.launch import joined_ray
from spectrum.records import TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.trials import TrialEnd
from spectrum.search.tune_adapters import run_trials
from spectrum.tracking import AimTracker

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.many_trials import TimedDriver
from tests.benchmarks.no_op_trials import no_op_space
from tests.unit.search.fakes import epoch_record, trial_end

SCORE = 0.5
"""The same for all: the pruner is asked at each report, and a tie stops no trial."""


class SleepingObjective:
    """Sleeps, reports, and leaves word of when and in which process it did."""

    def __init__(self, moments: Path, seconds: float, num_reports: int) -> None:
        self.moments, self.num_reports = moments, num_reports
        self.pause_s = seconds / num_reports

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        begin = time.time()
        for epoch in range(self.num_reports):
            time.sleep(self.pause_s)
            is_last = epoch == self.num_reports - 1
            if is_last:
                (self.moments / str(number)).write_text(f"{os.getpid()} {begin} {time.time()}")
            yield epoch_record(epoch, SCORE, finished=is_last)
        return trial_end(number, SCORE)


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    folder, space = Path(asked["folder"]), no_op_space()
    moments, study = folder / "moments", StudyFolder(folder / "study")
    moments.mkdir(parents=True)
    objective = partial(SleepingObjective, moments, asked["seconds"], asked["num_reports"])
    with joined_ray(asked["address"]), study.locked():
        study.write_manifest(build_manifest(space, name="study", data={}))
        tracker = AimTracker(folder, study="study")
        driver = TimedDriver(study, space, tracker, num_trials=asked["num_trials"])
        driver.seconds = []
        begin, cpu = time.perf_counter(), cpu_s()
        run_trials(driver, objective, folder=study, on_status=lambda status: None)
        found = {"cpu_s": cpu_s() - cpu, "tune_s": time.perf_counter() - begin}
        # Only the process that writes to Aim is waited for in here.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        tracker.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["aim_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert len(driver.lines) == asked["num_trials"]
    told = [path.read_text().split() for path in moments.iterdir()]
    return {**found, "moments": told, "proposals": driver.seconds[: asked["num_trials"]]}


def cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))), flush=True)
