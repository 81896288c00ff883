"""Kills workers of Ray Train in mid epoch while they fit, and measures what each kill cost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from spectrum.config import TrialConfig
from spectrum.records import FoldRecord, TrialEpochRecord
from spectrum.training.workers import fit_trial_on_workers

SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(slots=True)
class Kills:
    """Seconds of each kill: of work since the last state, and from the kill to the next state."""

    repeated_s: list[float] = field(default_factory=list)
    recovered_s: list[float] = field(default_factory=list)


def fit_with_kills(
    shards: Path, config: TrialConfig, storage: Path, *, num_kills: int, seed: int = 0
) -> tuple[list[TrialEpochRecord], tuple[FoldRecord, ...], Kills]:
    """Fit a trial on the Ray of this process, and kill so many workers, one after the other.

    Each kill comes at a random moment after a new state was written since the last one.
    """
    kills, is_over = Kills(), threading.Event()
    killer = threading.Thread(
        target=_kill, args=(storage / "state", num_kills, random.Random(seed), kills, is_over)
    )
    killer.start()
    try:
        records, folds = fit_trial_on_workers(shards, config, storage=storage)
    finally:
        is_over.set()
        killer.join()
    return records, folds, kills


@contextmanager
def one_kill(states: Path, kind: str, number: int = signal.SIGKILL) -> Iterator[list[int]]:
    """Send one process of Ray a signal as soon as there is a state; tell which it was.

    Parameters
    ----------
    states : folder of the states of all trials
    kind : class of the actor that is killed
    """
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while not is_over.wait(SECONDS_BETWEEN_LOOKS):
            if any(states.rglob("state.json")) and (workers := _workers(kind)):
                os.kill(workers[-1], number)
                killed.append(workers[-1])
                return

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        is_over.set()
        killer.join()


def _kill(
    states: Path, num_kills: int, rng: random.Random, kills: Kills, is_over: threading.Event
) -> None:
    for _ in range(num_kills):
        written = _wait_for_state_after(states, time.time(), is_over)
        time.sleep(rng.uniform(0.0, 0.3))
        workers = _workers()
        if is_over.is_set() or not workers:
            return
        at = time.time()
        os.kill(rng.choice(workers), signal.SIGKILL)
        kills.repeated_s.append(at - max(written, _last_state(states)))
        kills.recovered_s.append(_wait_for_state_after(states, at + 0.5, is_over) - at)


def _wait_for_state_after(states: Path, moment: float, is_over: threading.Event) -> float:
    while not is_over.is_set() and _last_state(states) <= moment:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return _last_state(states)


def _last_state(states: Path) -> float:
    return max((path.stat().st_mtime for path in states.glob("*/state.json")), default=0.0)


def _workers(kind: str = "TrainWorker") -> list[int]:
    """Return the processes of one kind of Ray's actors below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if kind in title:
            found.append(process.pid)
    return sorted(found)
