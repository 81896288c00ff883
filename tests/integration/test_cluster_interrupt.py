"""spectrum cluster up that is stopped before its nodes are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TO_COME_S = 120.0


def ours(folder: Path) -> list[psutil.Process]:
    """Return the processes whose home is a folder."""
    return [process for process in psutil.process_iter() if told(process, "HOME") == str(folder)]


def told(process: psutil.Process, name: str) -> str:
    """Return what a process has in its environment; nothing of one that is gone."""
    try:
        return process.environ().get(name, "")
    except psutil.Error:
        return ""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cluster_that_is_stopped_while_it_starts_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", "from spectrum.cli import main; main()", "cluster", "up"],
        env={**os.environ, "HOME": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    until, sessions = time.monotonic() + TO_COME_S, set[Path]()
    # A socket says that the start of a node is under way.
    while time.monotonic() < until and not any(list(s.rglob("sockets/*")) for s in sessions):
        assert program.poll() is None
        time.sleep(0.1)
        sessions |= {Path(s) for process in ours(tmp_path) if (s := told(process, "RAY_TMPDIR"))}
    assert len(sessions) == 1
    program.send_signal(number)
    assert program.wait(TO_COME_S) == 128 + number
    left = psutil.wait_procs(ours(tmp_path), timeout=10)[1]
    assert [process.cmdline() for process in left] == []
    assert not any(session.exists() for session in sessions)
    assert [path.name for path in (tmp_path / ".spectrum").iterdir()] == ["ray_token"]
