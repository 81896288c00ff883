"""What does a study that Aim follows cost, and how long until its UI shows it?

    python -m tests.benchmarks.tracking --json

Trials that do nothing, of so many values each in two epochs, without Ray, so that what is added
is not lost in what Ray takes: with ``AimTracker`` and without. Told are the seconds that the
driver spends more on a trial, those that it waits for the follower in the end, the follower's own
processor time, the size of the repository, and the seconds until Aim's table of runs is there: its
first page as the front end asks for it, then as Chromium shows it, by Aim's own UI without its
index, which may break answers off while it indexes, and by ``spectrum ui`` with it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig
from spectrum.records import EpochRecord, TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.tracker import Tracker
from spectrum.search.trials import TrialEnd
from spectrum.search.view import view_study
from spectrum.tracking import AimTracker, AimUi, index_repo, num_missing, open_ui
from spectrum.tracking.values import values_of_epoch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.aim_server import AIM, free_port
from tests.benchmarks.no_op_trials import told
from tests.benchmarks.telling import tell
from tests.browser import CHROMIUM, open_tab
from tests.unit.search.drive import drive
from tests.unit.search.fakes import (
    ListTracker,
    planted_score,
    score_record,
    small_space,
    trial_end,
)
from tests.waiting import wait_until

NUM_EPOCHS = 2
PATIENCE_S = 300.0
"""After so long a page that is not there is given up: its seconds are None."""

SHOWS_A_TRIAL = "!!document.body && document.body.innerText.includes('trial ')"
FIRST_PAGE = "/api/runs/search/run?q=&limit=45"
"""What Aim's table of runs asks for when it is opened, seen in Chromium."""


class ManyValues:
    """An objective that reports so many numbers a trial and does nothing else."""

    def __init__(self, num_values: int) -> None:
        bare = len(values_of_epoch(_record(0, 0.5, num_more=0)))
        self.num_more = num_values // NUM_EPOCHS - bare
        if self.num_more < 0 or num_values % NUM_EPOCHS:
            raise SystemExit(f"--values must be even and at least {NUM_EPOCHS * bare}")

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        value = planted_score(config)
        for epoch in range(NUM_EPOCHS):
            yield _record(epoch, value, num_more=self.num_more)
        return trial_end(number, value)


def _record(epoch: int, value: float, *, num_more: int) -> TrialEpochRecord:
    fold = EpochRecord(
        fold="ds000002",
        epoch=epoch,
        training_loss=0.7 - 0.1 * epoch,
        training_accuracy=0.6,
        validation_loss=0.7,
        validation_accuracy=0.5,
        lr=1e-3,
        num_sequences=11,
        metrics={f"metric_{index}": float(index) for index in range(num_more)},
    )
    score = score_record(value)
    return TrialEpochRecord(
        epoch=epoch, score=score, folds=(fold,), finished=epoch == NUM_EPOCHS - 1
    )


def seconds_of_study(
    study: Path, tracker: Tracker, *, num_trials: int, num_values: int
) -> tuple[float, float]:
    """Return what the driver takes for all trials, and what the close takes after them."""
    space = small_space(sampler="random")
    folder = StudyFolder(study)
    with folder.locked():
        folder.write_manifest(build_manifest(space, name=study.name, data={}))
    begin = time.perf_counter()
    drive(
        study,
        num_trials=num_trials,
        tracker=tracker,
        space=space,
        objective=ManyValues(num_values),
    )
    end = time.perf_counter()
    tracker.close()
    return end - begin, time.perf_counter() - end


def rows_of_writing(repo: Path, num_trials: int, num_values: int) -> Iterator[dict[str, Any]]:
    numbers = {"num_trials": num_trials, "num_values": num_values}
    without, _ = seconds_of_study(repo.parent / "off" / "study", ListTracker(), **numbers)
    before = _seconds_of_children()
    with_aim, closing = seconds_of_study(
        repo / "study", AimTracker(repo, study="study"), **numbers
    )
    writer = _seconds_of_children() - before
    missing = num_missing(view_study(repo / "study"))
    files = [path for path in repo.glob(".aim/**/*") if path.is_file()]
    yield told(
        "tracking",
        f"{num_trials} trials of {num_values} values",
        missing=missing,
        without_s_a_trial=round(without / num_trials, 4),
        with_s_a_trial=round(with_aim / num_trials, 4),
        added_s_a_trial=round((with_aim - without) / num_trials, 4),
        close_s=round(closing, 1),
        writer_cpu_s_a_trial=round(writer / num_trials, 4),
        num_files=len(files),
        mib=round(sum(path.stat().st_size for path in files) / 2**20, 1),
        load=round(os.getloadavg()[0], 1),
    )


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rows_of_looking(repo: Path, num_trials: int) -> Iterator[dict[str, Any]]:
    index = repo / ".aim" / "meta" / "index"
    shutil.rmtree(index)
    with _bare_ui(repo) as ui:
        yield _row_of_looking(ui, f"{num_trials} trials, Aim alone, without index")
    shutil.rmtree(index)
    begin = time.perf_counter()
    num_indexed = index_repo(repo)
    indexing = time.perf_counter() - begin
    begin = time.perf_counter()
    with open_ui(repo, port=0, block=False, show=lambda line: None) as ui:
        start = time.perf_counter() - begin
        row = _row_of_looking(ui, f"{num_trials} trials, spectrum ui, with index")
    yield {**row, "start_s": round(start, 1), "indexing_s": round(indexing, 1)} | {
        "num_indexed": num_indexed
    }


def _bare_ui(repo: Path) -> AimUi:
    """Begin Aim's own UI, as ``aim up`` does, which indexes while it runs."""
    port = free_port()
    command = [sys.executable, "-c", AIM, "up", "--yes", "--read-only", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--workers", "1", "--repo", str(repo)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ui = AimUi(process, port=port)
    wait_until(lambda: _answers(ui.url), "Aim's UI answers")
    return ui


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _row_of_looking(ui: AimUi, case: str) -> dict[str, Any]:
    begin, num_broken = time.perf_counter(), 0
    while not (size := _size_of_page(ui.url)) and time.perf_counter() - begin < PATIENCE_S:
        num_broken += 1
    tried_s = round(time.perf_counter() - begin, 2)
    return told(
        "tracking",
        f"first page of runs, {case}",
        page_s=tried_s if size else None,
        tried_s=tried_s,
        page_mib=round(size / 2**20, 2),
        num_broken=num_broken,
        painted_s=_painted_s(ui.url),
        load=round(os.getloadavg()[0], 1),
    )


def _size_of_page(url: str) -> int:
    """Return the bytes of the first page of runs; 0 where Aim breaks off, as it may at first."""
    try:
        with urllib.request.urlopen(url + FIRST_PAGE, timeout=PATIENCE_S) as answer:
            return len(answer.read())
    except (OSError, HTTPException):
        time.sleep(0.5)
        return 0


def _painted_s(url: str) -> float | None:
    """Return seconds until Chromium shows a trial; None where it never does, or is not there."""
    if CHROMIUM is None:
        return None
    with (
        tempfile.TemporaryDirectory() as profile,
        open_tab("about:blank#start", Path(profile)) as tab,
    ):
        begin = time.perf_counter()
        tab.call("Page.navigate", url=f"{url}/runs")
        while not tab.value(SHOWS_A_TRIAL):
            if time.perf_counter() - begin > PATIENCE_S:
                return None
            time.sleep(0.2)
        return round(time.perf_counter() - begin, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--values", type=int, default=40, help="numbers of a trial")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        repo = Path(name) / "studies"
        for rows in (
            rows_of_writing(repo, arguments.trials, arguments.values),
            rows_of_looking(repo, arguments.trials),
        ):
            for row in rows:
                text = ", ".join(f"{key} {value}" for key, value in row.items())
                tell(row, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
