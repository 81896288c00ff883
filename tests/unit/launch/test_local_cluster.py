"""The file that says which nodes run here: what is no longer, or was never ours, is not ended."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psutil
import pytest

from spectrum.errors import LaunchError
from spectrum.launch import running_cluster, take_down
from spectrum.launch.cluster import STATE_NAME, health_times


def write_state(folder: Path, *, pid: int, began: float) -> None:
    told = {"address": "127.0.0.1:1", "dashboard": "", "token": "", "folder": str(folder / "ray")}
    state = {**told, "pid": pid, "began": began, "nodes": []}
    (folder / STATE_NAME).write_text(json.dumps(state))


def test_a_process_that_has_a_number_again_is_neither_taken_for_a_cluster_nor_ended(
    tmp_path: Path,
) -> None:
    write_state(tmp_path, pid=os.getpid(), began=psutil.Process().create_time() - 100.0)
    assert running_cluster(tmp_path) is None
    assert take_down(tmp_path) is None
    assert not (tmp_path / STATE_NAME).exists()


def test_without_a_file_nothing_runs_here(tmp_path: Path) -> None:
    assert running_cluster(tmp_path) is None
    assert take_down(tmp_path) is None


def test_a_file_that_says_something_else_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / STATE_NAME).write_text('{"pid": 1}')
    with pytest.raises(LaunchError, match=f"{tmp_path / STATE_NAME} is not what"):
        running_cluster(tmp_path)


def test_health_times_of_the_environment_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_health_check_period_ms", "7")
    assert "RAY_health_check_period_ms" not in health_times()
    assert health_times()["RAY_health_check_failure_threshold"] == "4"
