"""A cluster whose head is killed under a search, and the search that goes on on another one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.faults.node_loss import told_of
from tests.integration.test_cluster_interrupt import told
from tests.integration.test_two_nodes import RUNS, SPACE, Commands
from tests.unit.search.test_driver import lines_of

TO_BEGIN_S = 300.0
TO_END_S = 120.0
MARK = "SPECTRUM_HEADLESS_SEARCH"
"""In the environment of the search, and so of each process that it starts."""

LONG_TRIALS = {"num_epochs": 3, "batch_size": 8, "min_steps_per_epoch": 300}

MANY = 500
"""Trials, more than there is time for."""

SENTENCE = (
    r"spectrum: The head of the Ray at \S+ has not answered for \d+ s: .* what was under way is "
    r"lost\. Start the cluster again, .* --resume once study\.json is written\."
)


@pytest.fixture
def spectrum(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


@pytest.fixture
def bring_up(spectrum: Commands) -> Iterator[Callable[[], psutil.Process]]:
    """Start a cluster, again where one lost its head; give its process."""

    def start() -> psutil.Process:
        spectrum("cluster", "down")
        started = spectrum("cluster", "up", "--nodes", "1", "--cpus-per-node", "2", "--json")
        assert started.returncode == 0, started.stderr
        return psutil.Process(json.loads(started.stdout)["pid"])

    yield start
    ended = spectrum("cluster", "down")
    assert ended.returncode == 0, ended.stderr


def part_of(cluster: psutil.Process, name: str) -> psutil.Process:
    (part,) = (process for process in cluster.children() if process.name() == name)
    return part


def wait_for_trials(studies: Path, search: subprocess.Popen[str], num_trials: int) -> None:
    record, until = studies / "trials.jsonl", time.monotonic() + TO_BEGIN_S
    while not record.exists() or record.read_bytes().count(b"\n") < num_trials:
        assert search.poll() is None, search.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


def check_ended(workers: list[psutil.Process]) -> None:
    """Nothing that the search started is there, and no process of its trials for long."""
    until = time.monotonic() + TO_END_S
    while left := [text for process in workers if (text := told_of(process))]:
        assert time.monotonic() < until, left
        time.sleep(0.5)
    assert not any(told(process, MARK) for process in psutil.process_iter())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_whose_head_is_killed_says_what_to_do_and_goes_on_on_another_cluster(
    spectrum: Commands, bring_up: Callable[[], psutil.Process], tiny_bids: Callable[..., Path]
) -> None:
    cluster, study = bring_up(), spectrum.home / "studies/both"
    base: dict[str, Any] = {**SPACE["base"], "training": LONG_TRIALS}  # type: ignore[dict-item]
    (spectrum.home / "both.yaml").write_text(yaml.safe_dump({**SPACE, "base": base}))
    asked = ("search", "both.yaml", str(tiny_bids(runs=RUNS)), "--address", "auto", "--json")
    search = spectrum.begin(*asked, "--trials", str(MANY), **{MARK: "1"})
    wait_for_trials(study, search, 1)
    workers = part_of(cluster, "raylet").children(recursive=True)
    part_of(cluster, "gcs_server").send_signal(signal.SIGKILL)
    printed, noted = search.communicate(timeout=TO_END_S)
    assert (search.returncode, printed) == (1, ""), noted
    assert "Traceback" not in noted
    sentence = noted.strip().splitlines()[-1]
    assert re.fullmatch(SENTENCE, sentence), noted
    check_ended(workers)
    done = [line["number"] for line in lines_of(study)]
    bring_up()
    resumed = spectrum(*asked, "--trials", str(len(done) + 2), "--resume")
    assert resumed.returncode == 0, resumed.stderr
    lines = lines_of(study)
    assert sorted(line["number"] for line in lines) == list(range(len(done) + 2))
    assert {line["state"] for line in lines} == {"complete"}
