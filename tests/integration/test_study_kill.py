"""SIGKILL of a search under Ray at random moments, then resume: each trial once, everywhere."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.search.test_driver import lines_of, states_in_journal

CHECKOUT = Path(__file__).parents[2]
NUM_TRIALS = 30
NUM_KILLS = 5


def _begin(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.killable_search", str(folder), str(NUM_TRIALS)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_killed_under_ray_ends_with_each_trial_once(tmp_path: Path) -> None:
    rng = random.Random(4)
    for _ in range(NUM_KILLS):
        process = _begin(tmp_path / "s")
        assert process.stdout is not None
        told = (line for line in process.stdout if line.startswith("progress"))
        assert next(told)
        assert next(told)
        time.sleep(rng.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed_after = len(lines_of(tmp_path / "s"))
    assert _begin(tmp_path / "s").wait() == 0
    assert killed_after < NUM_TRIALS
    _check_each_trial_once(tmp_path)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_driver_ends_in_order_with_its_code(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = _begin(tmp_path / "s")
    assert process.stdout is not None
    assert any(line.startswith("progress 2 ") for line in process.stdout)
    begin = time.monotonic()
    process.send_signal(number)
    assert process.wait() == 128 + number
    assert time.monotonic() - begin < 35
    states = states_in_journal(tmp_path / "s/optuna.journal")
    assert 2 <= len(lines_of(tmp_path / "s")) < NUM_TRIALS
    assert len(states) < NUM_TRIALS
    assert _begin(tmp_path / "s").wait() == 0
    _check_each_trial_once(tmp_path)


@pytest.mark.ray
@pytest.mark.slow
def test_sigterm_to_all_processes_of_a_job_ends_in_half_a_minute_and_can_be_continued(
    tmp_path: Path,
) -> None:
    process = _begin(tmp_path / "s")
    assert process.stdout is not None
    assert any(line.startswith("progress 1 ") for line in process.stdout)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait() != 0
    assert time.monotonic() - begin < 35
    assert _begin(tmp_path / "s").wait() == 0
    _check_each_trial_once(tmp_path)


def _check_each_trial_once(tmp_path: Path) -> None:
    lines = lines_of(tmp_path / "s")
    assert sorted(line["number"] for line in lines) == list(range(NUM_TRIALS))
    told = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    states = states_in_journal(tmp_path / "s/optuna.journal")
    assert {n: told[state] for n, state in states.items()} == {
        line["number"]: line["state"] for line in lines
    }
    tracked = {int(p.stem): json.loads(p.read_text()) for p in (tmp_path / "tracked").iterdir()}
    assert tracked == {line["number"]: line for line in lines}
