"""What ``cluster/slurm/search.sbatch`` runs on each node of a job, without Slurm and Ray."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "cluster/slurm/search.sbatch"
KILL_WAIT_S = 30
"""Seconds for which Slurm lets live what it has told to end, unless it was set up otherwise."""

STEPS = re.findall(
    r"^(?:start_ray|clear_left)\(\) \{\n.*?^\}",
    JOB.read_text(encoding="utf-8"),
    flags=re.MULTILINE | re.DOTALL,
)
"""What the Slurm job runs on each of its nodes."""


def on_node(tmp_path: Path, call: str, **programs: str) -> subprocess.Popen[str]:
    """Begin a step on a node where scripts stand for Slurm's and Ray's programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return subprocess.Popen(
        ["bash", "-c", "\n".join([*STEPS, call])],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_CPUS_ON_NODE": "2"},
        stdout=subprocess.PIPE,
        text=True,
    )


def folder_of_ray(path: Path) -> Path:
    """Write what a Ray leaves."""
    (path / "session_1/logs").mkdir(parents=True)
    (path / "session_latest").symlink_to("session_1")
    return path


def test_a_node_is_cleared_of_what_jobs_that_are_gone_have_left_and_of_nothing_else(
    tmp_path: Path,
) -> None:
    gone = [folder_of_ray(tmp_path / f"ray-{name}") for name in ("7", "7.2")]
    kept = [folder_of_ray(tmp_path / f"ray-{name}") for name in ("8", "8.1", "mine")]
    (tmp_path / "ray-9").mkdir()
    with on_node(tmp_path, f"clear_left {tmp_path}", squeue="echo 8; echo 77"):
        pass
    assert not any(path.exists() for path in gone)
    assert all(path.is_dir() for path in (*kept, tmp_path / "ray-9"))


def test_a_node_whose_slurm_does_not_answer_is_left_as_it_is(tmp_path: Path) -> None:
    left = folder_of_ray(tmp_path / "ray-7")
    with on_node(tmp_path, f"clear_left {tmp_path}", squeue="exit 1"):
        pass
    assert left.is_dir()


def test_a_step_begins_with_a_folder_of_its_own_and_clears_it_away_when_its_ray_has_ended(
    tmp_path: Path,
) -> None:
    folder = folder_of_ray(tmp_path / "ray-7")
    begins = f"mkdir -p {folder}/session_2; trap 'ls {folder}; exit 5' TERM; sleep 0.3; echo up"
    ray = f"{begins}; while true; do sleep 0.1; done"
    with on_node(tmp_path, f"start_ray {folder} --head", squeue="echo 7", ray=ray) as step:
        assert step.stdout is not None
        assert step.stdout.readline() == "up\n"
        step.terminate()
        told = step.stdout.read()
        assert step.wait(timeout=30) == 5
    assert told == "session_2\n"
    assert not folder.exists()


@pytest.mark.slow
def test_a_ray_that_lets_its_work_go_on_is_ended_in_time_for_its_folder_to_be_cleared_away(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "ray-7"
    ray = f"mkdir {folder}; trap '' TERM; sleep 0.3; echo up; while true; do sleep 0.1; done"
    with on_node(tmp_path, f"start_ray {folder} --head", squeue="echo 7", ray=ray) as step:
        assert step.stdout is not None
        assert step.stdout.readline() == "up\n"
        step.terminate()
        assert step.wait(timeout=KILL_WAIT_S) == 128 + signal.SIGKILL
    assert not folder.exists()
