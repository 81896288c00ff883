"""A real Aim server on loopback, which tests stop, kill and begin again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.waiting import wait_until

AIM = "from aim.cli.cli import cli_entry_point; cli_entry_point()"


class AimServer:
    """``aim server`` over a folder, on one port through all its lives."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.address = f"aim://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Begin it, and wait until it answers."""
        command = [sys.executable, "-c", AIM, "server", "--yes", "--host", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port), "--repo", str(self.folder)],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, "the Aim server answers")

    def freeze(self) -> None:
        """Stop it, so that connections stand and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill it with all its processes, also while it is frozen."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def num_runs(self) -> int:
        """Return how many runs its repository holds."""
        return len([*self.folder.glob(".aim/meta/chunks/*")])

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            address = f"http://127.0.0.1:{self.port}/status/"
            with urllib.request.urlopen(address, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.2)
            return False


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
