"""What does a machine cost a study that it loses in the middle?

    python -m tests.faults.node_loss --kills 10 --hangs 10 --json

Three nodes of one CPU on this machine run trials of one and of two workers. Nodes with a trial on
them are lost one after the other: killed (SIGKILL of the raylet and of all its processes), or hung
(SIGSTOP of them, and SIGCONT once they were given up), and started again. Told are the seconds
until the cluster knows, and until the last trial that stood there has its next epoch; then trials
that are not once in the record and the journal, and processes that are left.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from spectrum.launch import RunningCluster, bring_up, take_down
from spectrum.launch.cluster import ClusterNode
from tests.benchmarks.no_op_trials import told
from tests.benchmarks.telling import tell
from tests.unit.search.test_driver import lines_of, states_in_journal

CHECKOUT = Path(__file__).parents[2]
NUM_NODES = 3
PACE_S = 4.0
FAST_S = 0.05
LOOK_S = 0.1
TO_COME_S = 400.0
TO_END_S = 60.0
"""A node that was given up finds that out when it goes on, and ends with all its processes."""
TRIALS_PER_LOSS = 6
S_PER_TRIAL = 20.0
"""Seconds that a trial may take in the end: many begin a group of workers, or end one."""
GOALS_S = {"killed": 30.0, "hung": 60.0}
"""Seconds to detect, at most."""


@dataclass(slots=True)
class Told:
    """What the study printed, in the order in which it came."""

    events: list[tuple[str, int, float]] = field(default_factory=list)

    def take(self, lines: Iterator[str]) -> None:
        for line in lines:
            words = line.split()
            if len(words) == 3 and words[0] in ("started", "epoch", "ended", "nodes"):
                self.events.append((words[0], int(words[1]), float(words[2])))

    def running(self) -> set[int]:
        ended = {number for what, number, _ in self.events if what == "ended"}
        return {number for what, number, _ in self.events if what == "epoch"} - ended

    def first_after(self, moment: float, what: str, number: int) -> float | None:
        found = (at for w, n, at in list(self.events) if (w, n) == (what, number) and at > moment)
        return next(found, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Seconds of one lost node."""

    kind: str
    detected_s: float
    recovered_s: float


def lose(kind: str, node: ClusterNode, trials: set[int], study: Told) -> Loss:
    """Lose a node, and wait until its trials go on."""
    raylet = psutil.Process(node.pid)
    processes = [raylet, *raylet.children(recursive=True)]
    begin = time.time()
    for process in processes:
        send(process, signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
    detected = wait(lambda: study.first_after(begin, "nodes", NUM_NODES - 1))
    print(
        f"{kind}, {len(processes)} processes: known after {detected - begin:.1f} s",
        file=sys.stderr,
    )
    if kind == "hung":
        for process in processes:
            send(process, signal.SIGCONT)
        left = [told_of(process) for process in psutil.wait_procs(processes, TO_END_S)[1]]
        assert not any(left), left
    recovered = [wait(partial(next_epoch, study, number, detected)) for number in trials]
    return Loss(kind=kind, detected_s=detected - begin, recovered_s=max(recovered) - begin)


def told_of(process: psutil.Process) -> str:
    """Return what a process is; nothing of one that ended, and that nobody has asked about yet."""
    try:
        is_over = process.status() == psutil.STATUS_ZOMBIE
        return "" if is_over else f"{process.status()} {process.pid} {process.cmdline()[:3]}"
    except psutil.NoSuchProcess:
        return ""


def next_epoch(study: Told, number: int, moment: float) -> float | None:
    """Return when a trial went on; one that ended at the same moment needed not to."""
    return study.first_after(moment, "epoch", number) or study.first_after(moment, "ended", number)


def send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def wait(found: Any) -> Any:
    until = time.monotonic() + TO_COME_S
    while time.monotonic() < until:
        value = found()
        if value is not None:
            return value
        time.sleep(LOOK_S)
    raise AssertionError(f"what was waited for did not come in {TO_COME_S:g} s")


def occupied(
    cluster: RunningCluster, where: Path, study: Told
) -> tuple[ClusterNode, set[int]] | None:
    """Return a node that is not the head, and the trials that run there, once there are any."""
    running, trials = study.running(), dict[int, set[int]]()
    for path in where.glob("[0-9]*.*"):
        number, text = int(path.name.partition(".")[0]), path.read_text()
        if number in running and text:
            trials.setdefault(int(text), set()).add(number)
    for node in cluster.nodes[1:]:
        if trials.get(node.pid):
            return node, trials[node.pid]
    return None


def run(folder: Path, kinds: list[str]) -> tuple[list[Loss], dict[str, int]]:
    """Run a study that loses nodes; return what each cost, and what is wrong in the end."""
    (folder / "where").mkdir()
    (folder / "pace").write_text(str(PACE_S))
    num_trials = TRIALS_PER_LOSS * (1 + len(kinds))
    state, study, losses = folder / "state", Told(), list[Loss]()
    cluster = bring_up(
        num_nodes=NUM_NODES, cpus_per_node=1, object_store_gib=0.2, state_folder=state
    )
    keeper = psutil.Process(cluster.pid)
    try:
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.node_study", str(folder), cluster.address,
             str(num_trials)],
            cwd=CHECKOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert program.stdout is not None
        reader = threading.Thread(target=study.take, args=(program.stdout,))
        reader.start()
        try:
            for kind in kinds:
                node, trials = wait(partial(occupied, cluster, folder / "where", study))
                losses.append(lose(kind, node, trials, study))
                print(losses[-1], file=sys.stderr)
                begin = time.time()
                cluster = bring_up(
                    num_nodes=NUM_NODES, cpus_per_node=1, object_store_gib=0.2, state_folder=state
                )
                wait(partial(study.first_after, begin, "nodes", NUM_NODES))
            (folder / "pace").write_text(str(FAST_S))
            assert program.wait(S_PER_TRIAL * num_trials) == 0
        finally:
            program.kill()
            reader.join()
        left = [keeper, *keeper.children(recursive=True)]
    finally:
        take_down(state)
    num_left = len(psutil.wait_procs(left, timeout=30)[1])
    return losses, findings(folder / "study", num_trials, study) | {"processes left": num_left}


def findings(path: Path, num_trials: int, study: Told) -> dict[str, int]:
    wanted = set(range(num_trials))
    lines = lines_of(path)
    recorded = Counter(line["number"] for line in lines)
    tracked = Counter(number for what, number, _ in study.events if what == "ended")
    states = states_in_journal(path / "optuna.journal")
    return {
        "trials not once in the record": not_once(recorded, wanted),
        "trials not once at the tracker": not_once(tracked, wanted),
        "trials not COMPLETE in the journal": sum(states.get(n) != "COMPLETE" for n in wanted),
    }


def not_once(found: Counter[int], wanted: set[int]) -> int:
    return sum(found[number] != 1 for number in wanted | set(found))


def rows(losses: list[Loss], wrong: dict[str, int]) -> Iterator[dict[str, Any]]:
    for kind in dict.fromkeys(loss.kind for loss in losses):
        seconds = {
            "detect": [loss.detected_s for loss in losses if loss.kind == kind],
            "go on": [loss.recovered_s for loss in losses if loss.kind == kind],
        }
        for what, values in seconds.items():
            goal = GOALS_S[kind] if what == "detect" else None
            yield told(
                "node_loss",
                f"node {kind}, seconds to {what}: median of {len(values)}, the longest beside it",
                ours=round(statistics.median(values), 1),
                peer=round(max(values), 1),
                ratio=None,
                goal=f"longest <= {goal:g}" if goal else None,
                met=max(values) <= goal if goal else None,
            )
    for what, count in wrong.items():
        yield told("node_loss", what, ours=count, peer=0, ratio=None, goal="0", met=count == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--hangs", type=int, default=1)
    arguments = parser.parse_args()
    kinds = ["killed"] * arguments.kills + ["hung"] * arguments.hangs
    with tempfile.TemporaryDirectory() as name:
        losses, wrong = run(Path(name), kinds)
    for row in rows(losses, wrong):
        tell(row, f"{row['case']}: {row['ours']} ({row['peer']})", as_json=arguments.json)


if __name__ == "__main__":
    main()
