"""A process that stands still is ended, and its trial goes on or fails; quick ones go on."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.trials import TrialEnd
from tests.unit.search.fakes import NUM_EPOCHS, epoch_record, trial_end
from tests.unit.search.test_driver import lines_of, states_in_journal
from tests.unit.search.test_tune_adapters import search

EPOCH_S = 3.0


def ended(seconds: float | None, body: str) -> subprocess.CompletedProcess[str]:
    """Run a body that may stand still with Python's lock held, as ``PyDLL`` keeps it."""
    program = (
        "from spectrum.search.overdue import ended_after\n"
        "import ctypes, time\n"
        "def stand_still():\n    ctypes.PyDLL(None).sleep(600)\n"
        f"with ended_after({seconds}):\n    {body}\n"
        "time.sleep(1.0); print('went on')"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_process_that_stands_still_ends_and_says_where_it_stood() -> None:
    done = ended(0.5, "stand_still()")
    assert done.returncode == 1
    assert "in stand_still" in done.stderr
    assert "went on" not in done.stdout


@pytest.mark.parametrize("seconds", [0.5, None])
def test_a_process_that_is_quick_enough_goes_on_past_its_time(seconds: float | None) -> None:
    done = ended(seconds, "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


class Standing:
    """Trial 1 stands still in its second epoch once, 2 always; 3 begins and ends slowly."""

    def __init__(self, seen: Path) -> None:
        self.seen = seen

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        for epoch in range(NUM_EPOCHS):
            if (number, epoch) == (3, 0):
                ctypes.CDLL(None).sleep(int(EPOCH_S) + 2)
            if epoch == 1 and (number == 2 or (number == 1 and not self.seen.exists())):
                if number == 1:
                    self.seen.touch()
                ctypes.PyDLL(None).sleep(600)
            yield epoch_record(epoch, 0.5, finished=epoch == NUM_EPOCHS - 1)
        if number == 3:
            ctypes.CDLL(None).sleep(int(EPOCH_S) + 2)
        return trial_end(number, 0.5)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_trial_that_stands_still_once_goes_on_and_one_that_does_so_twice_fails(
    tmp_path: Path,
) -> None:
    objective = partial(Standing, tmp_path / "seen")
    _, tracker = search(tmp_path / "s", 4, objective, epoch_minutes=EPOCH_S / 60.0)
    lines = {line["number"]: line for line in lines_of(tmp_path / "s")}
    states = {0: "complete", 1: "complete", 2: "failed", 3: "complete"}
    assert {number: line["state"] for number, line in lines.items()} == states
    assert {n: tracker.starts.count(n) for n in lines} == {0: 1, 1: 2, 2: 2, 3: 1}
    assert lines[2]["error"]["kind"] == "WorkerLost"
    assert "longer than study.epoch_minutes, 0.05" in lines[2]["error"]["message"]
    assert states_in_journal(tmp_path / "s/optuna.journal")[2] == "FAIL"
