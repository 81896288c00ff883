"""Trials of one and of two workers on clusters of one to four CPUs: an end, or a refusal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.mixed_search import NUM_TRIALS
from tests.unit.search.test_driver import lines_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]


def search(folder: Path, num_cpus: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.integration.mixed_search", str(folder), str(num_cpus)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=400)


@pytest.mark.parametrize("num_cpus", [2, 3, 4])
def test_trials_of_one_and_two_workers_share_a_small_cluster_and_all_end(
    tmp_path: Path, num_cpus: int
) -> None:
    ended = search(tmp_path / "s", num_cpus)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = lines_of(tmp_path / "s")
    assert {line["state"] for line in lines} == {"complete"}
    assert {line["params"]["training.workers"] for line in lines} == {1, 2}
    assert sorted(line["number"] for line in lines) == list(range(NUM_TRIALS))


def test_what_a_cluster_of_one_cpu_can_never_place_is_refused_in_a_sentence(
    tmp_path: Path,
) -> None:
    ended = search(tmp_path / "s", 1)
    assert ended.returncode == 1
    assert "2 workers, each with a CPU; the cluster has 1 CPUs" in ended.stdout
    assert "lower training.workers" in ended.stdout
