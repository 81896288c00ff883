"""``spectrum search`` on a polite request to end while it is still starting."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.prepare_process import write_runs

SPACE = "search_spaces/quickstart.yaml"
ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [0.0, 4.0])
def test_a_search_that_is_starting_ends_with_143_and_says_how_to_go_on(
    tmp_path: Path, wait_s: float
) -> None:
    root = write_runs(tmp_path / "bids" / "ds000002", 4)
    code = "from spectrum.cli import main; main()"
    command = ["search", str(ROOT / SPACE), str(root), "--cpus", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    started = _children_with_ray(process)
    time.sleep(wait_s)
    children = [*started, *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGTERM)
    told, noted = process.communicate(timeout=90)
    assert (process.returncode, told) == (143, ""), noted
    assert noted.count("spectrum: interrupted.") == 1
    assert "the same command goes on from there" in noted
    assert "Traceback" not in noted
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def _children_with_ray(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Wait until a command has begun to start Ray."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        if any("gcs_server" in _name_of(child) for child in children):
            return children
        time.sleep(0.005)
    raise TimeoutError("Ray did not begin within two minutes")


def _name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
