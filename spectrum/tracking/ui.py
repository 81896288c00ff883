"""The Aim UI on a local repository: indexed first, read-only, on this machine alone.

Aim's UI has no login, and its query box can run code as the user who started it; so it is bound to
127.0.0.1 and to nothing else. To show it to others, put an authenticating proxy before it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from spectrum.errors import ConfigError, SearchError
from spectrum.tracking.index import index_repo
from spectrum.tracking.ui_door import is_guarded

__all__ = ["AimUi", "example_queries", "open_ui"]

HOST: Final = "127.0.0.1"
START_S: Final = 90.0
"""Seconds within which the UI must answer; it migrates its database first."""

STOP_S: Final = 10.0

_AIM: Final = "from spectrum.tracking.ui_door import run_aim; run_aim()"
"""Aim's command of the interpreter that runs now, wherever scripts are installed."""


def example_queries() -> tuple[tuple[str, str], ...]:
    """Return what to type into Aim's search box: each query with what it finds and where."""
    return (
        (
            '"complete" in run.tags and run.trial.score > run.floor.score'
            " and run.trial.score > run.floor.chance",
            "trials above floor and chance, in Runs",
        ),
        ("run.hparams.optimizer.lr > 1e-4", "trials by any configuration path, in Runs"),
        ('"best" in run.tags or "pareto" in run.tags', "what was selected, in Runs"),
        (
            'metric.name == "score" and "dataset" not in metric.context',
            "a score curve for each trial, in Metrics",
        ),
        (
            'metric.name == "score" and metric.context.dataset == "ds000002"',
            "scores of one data set, in Metrics",
        ),
        (
            'metric.name == "loss" and metric.context.role == "validation" and "best" in run.tags',
            "loss of the selected trial by fold, in Metrics",
        ),
        ('metric.name == "sequences_per_s"', "speed of training, in Metrics"),
        ('"study" in run.tags', "ladder, importance, parallel coordinates, in Figures"),
        ('figures.name == "confusion" and "best" in run.tags', "confusion, in Figures"),
        ('images.name == "brain slices" and "study" in run.tags', "slices, in Images"),
    )


class AimUi:
    """A running Aim UI; a context manager that ends it, with all of its processes."""

    def __init__(self, process: subprocess.Popen[bytes], *, port: int) -> None:
        self._process = process
        self._port = port
        self.url = f"http://{HOST}:{port}"

    def wait(self) -> None:
        """Wait until the UI ends by itself or is interrupted from the keyboard."""
        with contextlib.suppress(KeyboardInterrupt):
            self._process.wait()

    def close(self) -> None:
        """End the UI and every process it started."""
        _signal_group(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_S)
        end = time.monotonic() + STOP_S
        while not _is_free(self._port) and time.monotonic() < end:
            time.sleep(0.05)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the UI."""
        self.close()


def open_ui(
    repo: Path, *, port: int = 43800, block: bool = True, show: Callable[[str], None] = print
) -> AimUi:
    """Index a repository and open Aim's UI on it.

    Parameters
    ----------
    repo : folder that holds ``.aim``
    port : TCP port on 127.0.0.1; 0 takes a free one
    block : wait until the UI is interrupted, then end it
        False returns at once; the caller ends it with ``close``.
    show : takes each line of what to tell the user

    Raises
    ------
    SearchError
        Where there is no repository, or the UI does not start.
    ConfigError
        Where another program has the port.
    """
    if not (repo / ".aim").is_dir():
        raise SearchError(
            f"{repo} has no Aim repository (.aim). Give the folder of the studies; "
            "a search makes the repository there."
        )
    num_indexed = index_repo(repo)
    ui = _start(repo, port=port or _free_port())
    for line in _greeting(ui.url, num_indexed):
        show(line)
    if block:
        with ui:
            ui.wait()
    return ui


def _greeting(url: str, num_indexed: int) -> tuple[str, ...]:
    return (
        f"Aim UI: {url}  ({num_indexed} trials newly indexed)",
        "On this machine alone, without login: whoever reaches it can run code as you.",
        "Queries worth typing (but for Runs, press the pencil first):",
        *(f"  {meaning}:\n    {query}" for query, meaning in example_queries()),
        "Ctrl+C ends it.",
    )


def _start(repo: Path, *, port: int) -> AimUi:
    if not _is_free(port):
        raise ConfigError(
            f"Port {port} of {HOST} is taken or not allowed. Give another one with --port."
        )
    command = [sys.executable, "-c", _AIM, "up", "--yes", "--read-only"]
    command += [
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
        "--repo",
        str(repo.resolve()),
    ]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    ui = AimUi(process, port=port)
    try:
        _wait_for_answer(process, ui.url)
        _check_guarded(ui.url)
    except BaseException:
        ui.close()
        raise
    return ui


def _wait_for_answer(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SearchError(
                f"The Aim UI ended at its start with status {process.returncode}. "
                f"Run `{Path(sys.executable).name} -m pip check`, then `spectrum doctor`."
            )
        if _answers(url):
            return
        time.sleep(0.2)
    raise SearchError(f"The Aim UI did not answer at {url} within {START_S:.0f} s. Try again.")


def _check_guarded(url: str) -> None:
    if not is_guarded(url):
        raise SearchError(
            "The Aim UI answers under any name, so that other sites' pages could run code in it; "
            "it was ended. Install the version of Aim that Spectrum names."
        )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _signal_group(leader: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
