"""What does a joint study take, beside the documented way and beside a plain loop?

    python -m tests.benchmarks.study --json
    python -m tests.benchmarks.study --json --subjects 1 --epochs 2 --trials 2 --peer-trials 1

Ours, ``our_study``: a study as it ships, on two CPUs; once without early stopping and once with
successive halving. Peers: ``nested_peer``, the documented way with preprocessing in each trial,
which may run fewer trials and is compared by the trial; and ``optuna_peer``, a plain Optuna loop
with our data code, on one thread or two, whichever trains one trial faster. Each has a process of
its own, is timed from its start to its end, and begins without a shard set. A row of scores tells
the best score of each; ``met`` says whether the peer's best lies in the interval of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import told
from tests.benchmarks.study_setting import Setting, write_trees
from tests.benchmarks.telling import tell

GOAL_NESTED = 5.0
GOAL_LOOP = 1.0
GOAL_PRUNED = 1.3
THREADS = (1, 2)
ROOT = Path(__file__).parents[2]


def told_by(module: str, folder: Path, setting: Setting, *arguments: int) -> dict[str, Any]:
    """Return what a module tells, and the seconds of its process from start to end."""
    folder.mkdir()
    roots = ",".join(str(root) for root in setting.roots)
    begin = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, "-m", f"tests.benchmarks.{module}", str(folder), roots),
            *(str(argument) for argument in (setting.num_epochs, *arguments)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": time.perf_counter() - begin}


def plain_loop(folder: Path, setting: Setting, num_trials: int) -> dict[str, Any]:
    """Return the loop's study at its better number of threads, tried on one trial each."""
    tried = {
        threads: told_by("optuna_peer", folder / f"try{threads}", setting, 1, threads)["trials_s"]
        for threads in THREADS
    }
    threads = min(tried, key=lambda number: tried[number])
    found = told_by("optuna_peer", folder / "whole", setting, num_trials, threads)
    return {**found, "threads": threads}


def comparisons(
    folder: Path, setting: Setting, trials: int, peers: int
) -> Iterator[dict[str, Any]]:
    ours = told_by("our_study", folder / "ours", setting, trials, 0)
    pruned = told_by("our_study", folder / "pruned", setting, trials, 1)
    (folder / "loop").mkdir()
    loop = plain_loop(folder / "loop", setting, trials)
    case = f"seconds of {trials} trials; plain loop on {loop['threads']} thread(s)"
    yield row(f"without early stopping: {case}", ours["seconds"], loop["seconds"], GOAL_LOOP)
    yield row(f"with halving: {case}", pruned["seconds"], loop["seconds"], GOAL_PRUNED)
    yield scores("the plain loop", ours, loop)
    yield scores("the plain loop, ours with halving", pruned, loop)
    if peers:
        nested = told_by("nested_peer", folder / "nested", setting, peers)
        case = f"seconds a trial, {trials} of ours beside {peers} nested that preprocess"
        yield row(case, ours["seconds"] / trials, nested["trials_s"] / peers, GOAL_NESTED)
        name = f"the documented way's {peers} trials"
        yield scores(name, ours, nested, is_like=peers == trials)


def row(case: str, ours: float, peer: float, goal: float) -> dict[str, Any]:
    return told(
        "study",
        case,
        ours=round(ours, 2),
        peer=round(peer, 2),
        ratio=round(peer / ours, 2),
        goal=f"ratio >= {goal:g}",
        met=bool(peer / ours >= goal),
    )


def scores(
    name: str, ours: dict[str, Any], other: dict[str, Any], *, is_like: bool = True
) -> dict[str, Any]:
    """Return the row of two best scores; the best of fewer trials is told and held to nothing."""
    low, high = ours["ci95"]
    return told(
        "study",
        f"best score beside {name}; interval of ours {low:.3f} to {high:.3f}",
        ours=round(ours["score"], 3),
        peer=round(other["score"], 3),
        ratio=round(ours["score"] / other["score"], 3) if other["score"] else None,
        goal="peer in the interval of ours" if is_like else "told",
        met=bool(low <= other["score"] <= high) if is_like else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--peer-trials", type=int, default=6)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        roots = write_trees(Path(name) / "bids", arguments.subjects)
        setting = Setting(roots, arguments.epochs)
        for found in comparisons(Path(name), setting, arguments.trials, arguments.peer_trials):
            text = f"{found['case']}: {found['ours']} beside {found['peer']} ({found['goal']})"
            tell(found, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
