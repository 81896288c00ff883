"""A shard set made while its makers are killed: a driver of its own, workers, and a watcher.

python -m tests.integration.prepare_process BIDS_ROOT SHARDS ADDRESS
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.pieces import RunJob, RunOutcome, finish_run
from spectrum.data.pipeline import Making, PrepareResult, prepare
from spectrum.data.shards import ShardSet
from spectrum.errors import ShardError
from tests.tiny_bids import TASK, write_tiny_bids

RECIPE = PreprocessingConfig(
    grid="matrix", matrix=(5, 6, 4), drop_initial_volumes=1, high_pass_hz=0.0
)
NUM_RUNS = 8
RUN_S = 0.2
"""What a run takes at least."""

MAX_KILLS_OF_WORKERS = 2
"""Of one set; one more may be what a run is refused for."""


def write_runs(root: Path, num_runs: int = NUM_RUNS) -> Path:
    """Write a tree whose subjects have two runs each."""
    runs = {
        (f"{1 + index // 2:02d}", TASK, f"{1 + index % 2:02d}"): 11 + index
        for index in range(num_runs)
    }
    return write_tiny_bids(root, runs)


def make_slowly(job: RunJob, *, seconds: float) -> RunOutcome:
    """Make a run, and be at it for a while."""
    time.sleep(seconds)
    return finish_run(job)


def prepare_slowly(root: Path, shards_root: Path, seconds: float = RUN_S) -> PrepareResult:
    """Make the set in the caller's Ray."""
    how = Making(make_run=partial(make_slowly, seconds=seconds))
    return prepare(index_bids([root]), RECIPE, shards_root=shards_root, how=how)


def content_of(folder: Path) -> str:
    """Return the content hash of a set after a look at every run of it."""
    shards = ShardSet.open(folder)
    shards.check_content()
    return shards.manifest.content_hash


@dataclass
class Watcher:
    """What somebody saw who opened every set at the moment when it stood under its name."""

    num_looks: int = 0
    contents: set[str] = field(default_factory=set)
    half_visible: list[str] = field(default_factory=list)


@contextmanager
def watched(shards_root: Path) -> Iterator[Watcher]:
    """Look at a folder of sets all the time."""
    watcher, done = Watcher(), threading.Event()

    def look() -> None:
        while not done.is_set():
            watcher.num_looks += 1
            for folder in shards_root.glob("[!.]*/"):
                _look_at(folder, watcher)
            time.sleep(0.002)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watcher
    finally:
        done.set()
        thread.join()


def _look_at(folder: Path, watcher: Watcher) -> None:
    try:
        watcher.contents.add(content_of(folder))
    except ShardError as err:
        watcher.half_visible.append(str(err))


@dataclass(frozen=True)
class Undisturbed:
    """A set that nobody killed the maker of."""

    root: Path
    content: str
    seconds: float


def make_undisturbed(folder: Path) -> Undisturbed:
    """Make a set as the drivers that are killed do; time it once Ray's workers are warm."""
    root = write_runs(folder / "bids" / "ds000002")
    prepare_slowly(root, folder / "cold", seconds=0.0)
    begin = time.monotonic()
    result = prepare_slowly(root, folder / "warm")
    return Undisturbed(root, content_of(result.shards), time.monotonic() - begin)


@contextmanager
def _started(root: Path, shards_root: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    """Start a driver and wait until it begins."""
    command = [sys.executable, "-m", "tests.integration.prepare_process"]
    arguments = [str(root), str(shards_root), address]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begin\n"
        yield driver


def kill_a_driver(
    undisturbed: Undisturbed, shards_root: Path, address: str, rng: np.random.Generator
) -> tuple[int, Watcher]:
    """Kill the driver at a random moment; let the caller make the set at once, and check it.

    Returns
    -------
    num_killed, watcher
        Drivers that were killed before their set stood under its name: 0 or 1.
    """
    with watched(shards_root) as watcher:
        with _started(undisturbed.root, shards_root, address) as driver:
            time.sleep(float(rng.uniform(0.0, undisturbed.seconds)))
            driver.send_signal(signal.SIGKILL)
            result = prepare_slowly(undisturbed.root, shards_root, seconds=0.0)
        _check(result, undisturbed, shards_root)
    return int(not result.reused), watcher


def kill_workers(
    undisturbed: Undisturbed, shards_root: Path, rng: np.random.Generator
) -> tuple[int, Watcher]:
    """Kill workers at random moments of a making in this process, and check the set.

    Returns
    -------
    num_killed, watcher
        Workers that were at work when they were killed.
    """
    waits_s = rng.uniform(0.0, NUM_RUNS * RUN_S / 2 / MAX_KILLS_OF_WORKERS, MAX_KILLS_OF_WORKERS)
    num_killed: list[int] = []
    done = threading.Event()

    def kill() -> None:
        _wait_for_work(done)
        for wait_s in waits_s:
            done.wait(wait_s)
            at_work = _wait_for_work(done)
            if at_work:
                chosen = at_work[int(rng.integers(len(at_work)))]
                with suppress(ProcessLookupError):
                    os.kill(chosen, signal.SIGKILL)
                    num_killed.append(chosen)

    killer = threading.Thread(target=kill)
    with watched(shards_root) as watcher:
        killer.start()
        try:
            result = prepare_slowly(undisturbed.root, shards_root)
        finally:
            done.set()
            killer.join()
        _check(result, undisturbed, shards_root)
    return len(num_killed), watcher


def _wait_for_work(done: threading.Event) -> list[int]:
    """Return the workers that are at work as soon as there are some; none when all is done."""
    while not done.wait(0.005):
        at_work = _workers_at_work()
        if at_work:
            return at_work
    return []


def _workers_at_work() -> list[int]:
    """Return the workers of this process's own Ray that are in the midst of a run."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "_try" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def _check(result: PrepareResult, undisturbed: Undisturbed, shards_root: Path) -> None:
    assert (result.num_runs, result.refused) == (NUM_RUNS, ())
    assert content_of(result.shards) == undisturbed.content
    left = [path.name for path in shards_root.iterdir() if path.name.startswith(".aside")]
    assert left == []
    assert not list(shards_root.glob("*.lock*"))


def remove(shards_root: Path) -> None:
    """Remove a set with all that is beside it."""
    shutil.rmtree(shards_root, ignore_errors=True)


def main() -> None:
    import ray

    root, shards_root, address = sys.argv[1:]
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    print("begin", flush=True)
    result = prepare_slowly(Path(root), Path(shards_root))
    print(json.dumps({"shards": str(result.shards)}), flush=True)


if __name__ == "__main__":
    main()
