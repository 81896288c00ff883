"""A search whose terminal goes ends in order, or goes on where ``nohup`` began it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.test_two_nodes import RUNS, SPACE
from tests.unit.search.test_driver import lines_of

NUM_TRIALS = 3
PATIENCE_S = 240.0


class Terminal:
    """A terminal with one command in it, whose text is read as a window would."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.shown = b""
        self.pid, self._window = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.dup2(os.open("result.txt", os.O_WRONLY | os.O_CREAT), 1)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            environment = {**os.environ, "TERM": "xterm"}
            os.execve(sys.executable, [sys.executable, *command], environment)
        self._is_closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._is_closed.is_set():
            if select.select([self._window], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._window, 1 << 16)
                except OSError:
                    return

    def close(self) -> None:
        """Let the terminal go, which no thread may read from meanwhile, or it would stay."""
        self._is_closed.set()
        self._reader.join()
        os.close(self._window)

    def exit_code(self) -> int:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.1)
        raise TimeoutError("the command did not end")


Start = Callable[[str], Terminal]


@pytest.fixture
def start(tmp_path: Path, tiny_bids: Callable[..., Path]) -> Start:
    """Start a search in a terminal, after some code, and wait until its first trial has ended."""
    root, space = tiny_bids(runs=RUNS), tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    words = ["search", str(space), str(root), "--cpus", "2", "--trials", str(NUM_TRIALS)]

    def started(before: str) -> Terminal:
        code = f"import sys, signal; sys.argv[1:] = {words!r}; {before}"
        terminal = Terminal(tmp_path, ["-c", f"{code}; from spectrum.cli import main; main()"])
        end = time.monotonic() + PATIENCE_S
        while not any(path.stat().st_size for path in tmp_path.glob("studies/*/trials.jsonl")):
            assert time.monotonic() < end, terminal.shown
            assert psutil.Process(terminal.pid).status() != psutil.STATUS_ZOMBIE, terminal.shown
            time.sleep(0.05)
        return terminal

    return started


def study_of(tmp_path: Path) -> Path:
    (path,) = [p.parent for p in tmp_path.glob("studies/*/study.json")]
    return path


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_whose_terminal_goes_ends_in_order_and_leaves_no_process(
    tmp_path: Path, start: Start
) -> None:
    terminal = start("pass")
    children = psutil.Process(terminal.pid).children(recursive=True)
    terminal.close()
    assert terminal.exit_code() == 128 + signal.SIGHUP
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert 1 <= len(lines_of(study_of(tmp_path))) < NUM_TRIALS


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_that_ignores_hang_ups_goes_on_without_its_terminal(
    tmp_path: Path, start: Start
) -> None:
    terminal = start("signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    terminal.close()
    assert terminal.exit_code() == 0
    lines = lines_of(study_of(tmp_path))
    states = [line["state"] for line in lines if line["number"] < NUM_TRIALS]
    assert states == ["complete"] * NUM_TRIALS
    assert "trial" in (tmp_path / "result.txt").read_text()


LEAVING = """
import os, signal, time
from spectrum.search.signals import leave
signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    while os.write(2, b"ready "):
        time.sleep(0.05)
except OSError:
    leave("Nobody reads this.", 7)
"""


def test_a_process_that_cannot_end_in_order_ends_though_its_terminal_is_gone(
    tmp_path: Path,
) -> None:
    terminal = Terminal(tmp_path, ["-c", LEAVING])
    wait_for(terminal, b"ready")
    terminal.close()
    assert terminal.exit_code() == 7


TALKING = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from spectrum.cli.console import notes, say
from spectrum.cli.live import live_search
from spectrum.cli.progress import progress_bar
with live_search():
    say("ready")
    for _ in range(20):
        time.sleep(0.1)
        say("told beside a table")
        print("printed beside it", file=sys.stderr)
with progress_bar("Counting", unit="runs") as on_run_done:
    on_run_done(1, 2)
    say("told beside a bar")
say("told at the end")
print("done", flush=True)
"""


def test_a_command_that_ignores_hang_ups_talks_on_without_its_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, ["-c", TALKING])
    wait_for(terminal, b"ready")
    terminal.close()
    assert terminal.exit_code() == 0
    assert (tmp_path / "result.txt").read_text() == "done\n"


def wait_for(terminal: Terminal, text: bytes) -> None:
    end = time.monotonic() + PATIENCE_S
    while text not in terminal.shown:
        assert time.monotonic() < end, terminal.shown
        time.sleep(0.05)


def test_a_command_that_has_no_stderr_goes_on() -> None:
    code = "from spectrum.cli.console import say; say('to nobody'); print('done')"
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" -c "{code}" 2>&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n")
