"""Is a study that is killed and resumed again and again the undisturbed one, without leaks?

    python -m tests.benchmarks.cycles --cycles 30 --trials 40 --json

A study of real small trainings, one trial at a time, so that its proposals depend on no clock:
once with its driver ended by SIGKILL at random moments until it has been killed so many times, and
once undisturbed. ``ours`` counts the trials whose line in the record differs (all but seconds
and times), and what is left of the killed study's processes, open files and shared memory at most
two minutes after its end; ``peer`` is what there may be. Processes are known by a mark in their
environment; that the mark is seen at all is told by the count just after a kill.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import told
from tests.benchmarks.study_kills import MARK, KillableStudy, write_data
from tests.benchmarks.telling import tell
from tests.unit.search.test_driver import lines_of

UNLIKE = ("seconds", "started", "digest", "gpus")
"""What of a trial's line tells of time and place and not of its result."""

LONGEST_LEFT_S = 120.0
"""Ray's agents end on their own about a minute after the driver that was killed."""

SHARED_MEMORY = Path("/dev/shm")


def results(study: Path) -> dict[int, dict[str, Any]]:
    """Return what each trial of a record found, without times."""
    return {
        line["number"]: {name: value for name, value in line.items() if name not in UNLIKE}
        for line in lines_of(study)
    }


def differing(one: dict[int, Any], other: dict[int, Any]) -> list[int]:
    return sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that a study's driver started, and theirs."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def left_of(mark: str) -> tuple[int, int, float]:
    """Wait for a study's processes to end; return those left, their open files, seconds waited."""
    begin = time.monotonic()
    while marked(mark) and time.monotonic() - begin < LONGEST_LEFT_S:
        time.sleep(1.0)
    left = marked(mark)
    return len(left), sum(_num_files(process) for process in left), time.monotonic() - begin


def _num_files(process: psutil.Process) -> int:
    try:
        return process.num_fds()
    except psutil.Error:
        return 0


def left_in_shared_memory(before: set[Path], mark: str) -> list[str]:
    """Wait for the entries that came since to go; return those left that no other process holds.

    Parameters
    ----------
    before : entries of then
    mark : of the study, whose own processes do not count as others
    """
    begin, new = time.monotonic(), set(SHARED_MEMORY.iterdir()) - before
    while (left := new & set(SHARED_MEMORY.iterdir()) - held_by_others(mark)) and (
        time.monotonic() - begin < LONGEST_LEFT_S
    ):
        time.sleep(1.0)
    return sorted(path.name for path in left)


def held_by_others(mark: str) -> set[Path]:
    """Return the entries of shared memory that processes without a mark have mapped."""
    found = set[Path]()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) != mark:
                found |= {Path(mapped.path) for mapped in process.memory_maps()}
        except psutil.Error:
            continue
    return found


def disturbed(study: KillableStudy, num_kills: int, seed: int) -> tuple[int, int]:
    """Kill a study so many times, unless it ends before; continue it to its end.

    Returns the kills, and the most processes of the study that were there just after one.
    """
    rng, done, most = random.Random(seed), 0, 0
    while done < num_kills and study.end_at_random(signal.SIGKILL, rng) is not None:
        done, most = done + 1, max(most, len(marked(study.mark)))
    study.finish()
    return done, most


def compare(folder: Path, num_trials: int, num_kills: int) -> Iterator[dict[str, Any]]:
    root = folder / "ds000002"
    write_data(root)
    whole, killed = (
        KillableStudy(folder / name, root, num_trials, at_once=1) for name in ("whole", "killed")
    )
    before = set(SHARED_MEMORY.iterdir())
    num_done, num_seen = disturbed(killed, num_kills, seed=0)
    # Last, so that what the kills left has this time to end.
    whole.finish()
    unlike = differing(results(whole.path), results(killed.path))
    case = f"{num_done} times started, killed, resumed"
    yield row(f"{case}: trials not as undisturbed, of {num_trials}", len(unlike), trials=unlike)
    num_left, num_files, seconds = left_of(killed.mark)
    assert num_seen, "no process of a killed study was seen just after the kill"
    waited = round(seconds, 1)
    yield row(f"{case}: processes left", num_left, seen_after_a_kill=num_seen, seconds=waited)
    yield row(f"{case}: files they hold open", num_files)
    shared = left_in_shared_memory(before, killed.mark)
    yield row(f"{case}: new entries of shared memory", len(shared), names=shared)


def row(case: str, ours: int, **more: Any) -> dict[str, Any]:
    return told("cycles", case, ours=ours, peer=0, ratio=None, goal="0", met=ours == 0, **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--trials", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for each in compare(Path(name), arguments.trials, arguments.cycles):
            tell(each, f"{each['case']}: {each['ours']}", as_json=arguments.json)


if __name__ == "__main__":
    main()
