"""SIGKILL of the driver in the middle of a trial of two workers: nobody lives on, none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from spectrum.search.folder import STATE_NAME, StudyFolder
from tests.integration.killable_study import space
from tests.tiny_bids import TASK
from tests.unit.search.test_driver import lines_of, states_in_journal

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]
NUM_TRIALS = 2
NUM_WORKERS = 2
SECONDS_TO_END = 30.0
SECONDS_OF_AGENTS = 180.0
"""Ray's own agents try for a minute to tell a head that is gone that they end."""

RUNS = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2, 3) for r in (1, 2)}


def begin(folder: Path, root: Path) -> subprocess.Popen[str]:
    arguments = (str(folder), str(root), str(NUM_TRIALS), str(NUM_WORKERS))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.killable_study", *arguments],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def kill_in_mid_trial(folder: Path, root: Path) -> tuple[int, list[psutil.Process]]:
    """Kill the driver in a trial; return which it left unfinished, and all processes below it."""
    process = begin(folder, root)
    assert process.stdout is not None
    states = StudyFolder(folder).trials
    for _ in process.stdout:
        if any(states.glob(f"*/{STATE_NAME}/*/state.json")):
            break
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [each for each in below if "GroupWorker" in " ".join(each.cmdline())]
    assert len(workers) == NUM_WORKERS
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not psutil.wait_procs(workers, timeout=SECONDS_TO_END)[1]
    states_now = states_in_journal(folder / "optuna.journal")
    return next(number for number, state in states_now.items() if state == "RUNNING"), below


def test_a_driver_killed_in_a_trial_of_two_workers_leaves_no_process_and_goes_on(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    folder, root = tmp_path / "s", tiny_bids(runs=RUNS)
    number, below = kill_in_mid_trial(folder, root)
    assert number not in {line["number"] for line in lines_of(folder)}
    process = begin(folder, root)
    process.communicate()
    assert process.returncode == 0
    lines = {line["number"]: line for line in lines_of(folder)}
    assert sorted(line["number"] for line in lines_of(folder)) == list(range(NUM_TRIALS))
    assert "RUNNING" not in states_in_journal(folder / "optuna.journal").values()
    assert all(line["config"]["training"]["workers"] == NUM_WORKERS for line in lines.values())
    records = StudyFolder(folder).read_records(number)
    assert [record.epoch for record in records] == list(range(lines[number]["num_epochs"]))
    num_epochs = space(NUM_WORKERS).default_config.training.num_epochs
    assert lines[0]["state"] == "complete"
    assert lines[0]["num_epochs"] == num_epochs
    assert not psutil.wait_procs(below, timeout=SECONDS_OF_AGENTS)[1]
