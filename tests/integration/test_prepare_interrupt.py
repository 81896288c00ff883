"""``spectrum prepare`` on Ctrl-C: a sentence, nothing half made, no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.prepare_process import write_runs

pytestmark = pytest.mark.ray

RECIPE = ("grid=matrix", "matrix=[5,6,4]", "high_pass_hz=0.0")


def _started(root: Path, shards_root: Path) -> subprocess.Popen[str]:
    """Start the command as a terminal does, in a group of its own."""
    settings = [word for text in RECIPE for word in ("--set", f"preprocessing.{text}")]
    code = "from spectrum.cli import main; main()"
    command = [sys.executable, "-c", code, "prepare", str(root), "--shards", str(shards_root)]
    return subprocess.Popen(
        [*command, "--cpus", "1", *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for_runs(process: subprocess.Popen[str], shards_root: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(shards_root.glob(".pieces-*/.attempts*/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_an_interrupted_prepare_says_what_is_kept_and_leaves_no_process(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C reaches the whole group, a request to end the command alone."""
    root, shards_root = write_runs(tmp_path / "bids" / "ds000002", 12), tmp_path / "shards"
    process = _started(root, shards_root)
    _wait_for_runs(process, shards_root)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    told, noted = process.communicate(timeout=60)
    assert (process.returncode, told) == (128 + number, "")
    sentence = f"Finished runs are kept in {shards_root}; the same command goes on from there."
    assert noted.splitlines().count(f"spectrum: interrupted. {sentence}") == 1
    assert "Traceback" not in noted
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not list(shards_root.glob("*/manifest.json"))
    assert not list(shards_root.glob("*.lock"))
