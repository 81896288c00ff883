"""Does the memory of the driver and of each worker grow with the number of runs?

    python -m tests.benchmarks.prepare_memory --json

The same images, few and ten times as many, each number in a process of its own: a driver that
starts Ray and makes a set. ``ours`` is the peak of proportional set size (PSS) in MiB with many
runs, ``peer`` that with few; shared memory counts in it by what each process has of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.launch import local_ray

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.telling import measured_here, tell
from tests.tiny_bids import tiny_data, write_nifti, write_tiny_bids

GOAL_RATIO = 1.2
MIB = 2**20
SHAPE = (48, 48, 24)
NUM_VOLUMES = 60
SAMPLE_EVERY_S = 0.1
OBJECT_STORE_GIB = 0.3


def write_runs(root: Path, num_runs: int) -> None:
    """Write runs of 6.6 MB each as whole numbers, all different; four runs a subject."""
    write_tiny_bids(root, {("01", "learn", "01"): 3})
    data = tiny_data(NUM_VOLUMES, seed=1, shape=SHAPE)
    for index in range(num_runs):
        stem = f"sub-{1 + index // 4:02d}_task-learn_run-{1 + index % 4:02d}_bold.nii"
        path = root / stem.split("_")[0] / "func" / stem
        write_nifti(path, np.roll(data, index, axis=3) + np.int16(index))
    next(root.rglob("*.nii.gz")).unlink()


class PeakMemory:
    """Peaks of this process and of the workers of its Ray, looked at while it works."""

    def __init__(self) -> None:
        self.peak_of: defaultdict[str, int] = defaultdict(int)
        self.num_looks = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._done.wait(SAMPLE_EVERY_S):
            self.num_looks += 1
            self._look("driver", me)
            for process in me.children(recursive=True):
                self._look("worker", process)

    def _look(self, kind: str, process: psutil.Process) -> None:
        try:
            if kind == "worker" and "_try" not in " ".join(process.cmdline()):
                return
            pss = process.memory_full_info().pss
        except psutil.Error:
            return
        self.peak_of[kind] = max(self.peak_of[kind], pss)


def measure(num_runs: int) -> dict[str, float]:
    """Make a set and return the peaks in MiB."""
    with tempfile.TemporaryDirectory() as name, local_ray(object_store_gib=OBJECT_STORE_GIB):
        root = Path(name) / "ds000002"
        write_runs(root, num_runs)
        table = index_bids([root])
        with PeakMemory() as memory:
            result = prepare(table, PreprocessingConfig(), shards_root=Path(name) / "shards")
        assert (result.num_runs, result.refused) == (num_runs, ())
        told = {kind: round(peak / MIB, 1) for kind, peak in memory.peak_of.items()}
        return {**told, "looks": memory.num_looks, "seconds": round(result.seconds, 1)}


def _measured_apart(num_runs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.prepare_memory", "--one", str(num_runs)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def comparisons(few: int, many: int) -> Iterator[dict[str, Any]]:
    small, large = _measured_apart(few), _measured_apart(many)
    sys.stderr.write(f"{few} runs: {small}\n{many} runs: {large}\n")
    for kind in ("driver", "worker"):
        ratio = large[kind] / small[kind]
        yield {
            "benchmark": "prepare_memory",
            "case": f"peak PSS of the {kind}, {many} runs beside {few}, MiB",
            "ours": large[kind],
            "peer": small[kind],
            "ratio": round(ratio, 3),
            "goal": f"ratio < {GOAL_RATIO:g}",
            "met": ratio < GOAL_RATIO,
            **measured_here(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--few", type=int, default=12)
    parser.add_argument("--many", type=int, default=120)
    parser.add_argument("--one", type=int, help="measure this number in this process")
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(measure(arguments.one)) + "\n")
        return
    for comparison in comparisons(arguments.few, arguments.many):
        text = f"{comparison['case']}: {comparison['ours']} beside {comparison['peer']}"
        tell(comparison, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
