"""How fast two workers of Ray Train are, against torchrun's DDP; and what killed workers cost.

    python -m tests.benchmarks.workers --json [--kills 20]

One fold of noise, the default model, two workers of one thread each, over gloo on this machine.
Both sides read the same shard set and predict the held-out side after each epoch; ours writes a
state after each as well. ``ours`` and ``peer`` are the median seconds of an epoch, the first left
out, the better of two rounds that are taken in turn; or the seconds before the first epoch. With
``--kills`` workers are killed in mid epoch, at random moments, and the seconds of repeated work
and of recovery are told, with the final weights compared byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig, config_from_mapping
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.sequences import read_sequences
from spectrum.data.shards import ShardSet
from spectrum.launch import local_ray
from spectrum.targets import read_target
from spectrum.training.trial import draw_trial_folds

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.telling import measured_here
from tests.tiny_bids import TASK, write_tiny_bids

NUM_WORKERS = 2
NUM_EPOCHS = 8
NUM_ROUNDS = 2
SECONDS_BETWEEN_LOOKS = 0.005


def config_of(**training: Any) -> TrialConfig:
    return config_from_mapping(
        TrialConfig,
        {
            "folds": {"scheme": "leave-one-subject-out"},
            "preprocessing": {"voxel_mm": 7.0, "high_pass_hz": 0.0},
            "sequences": {"num_volumes": 8, "stride": 4},
            "training": {
                "num_epochs": NUM_EPOCHS,
                "min_steps_per_epoch": 12,
                "workers": NUM_WORKERS,
                "device": "cpu",
                **training,
            },
        },
    )


def write_shards(folder: Path) -> Path:
    """Eight runs of noise in an ellipsoid, as a shard set."""
    # Of equal lengths, two of them would be the same noise, and refused as duplicates.
    runs = {(f"0{s}", TASK, f"0{run}"): 40 + s for s in range(1, 5) for run in (1, 2)}
    write_tiny_bids(folder / "ds000002", runs, shape=(24, 26, 22))
    table = index_bids([folder / "ds000002"])
    return prepare(table, config_of().preprocessing, shards_root=folder / "shards").shards


class Moments:
    """When the states of a fit were written, seen from outside."""

    def __init__(self, states: Path) -> None:
        self.written: list[float] = []
        self._states = states
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Moments:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(SECONDS_BETWEEN_LOOKS):
            for path in self._states.glob("*/state.json"):
                moment = path.stat().st_mtime
                if moment not in self.written[-1:]:
                    self.written.append(moment)


def our_seconds(shards: Path, config: TrialConfig, storage: Path) -> list[float]:
    """Return the seconds to the end of the first epoch, then those of each epoch."""
    # Ray reads its mode of authentication, which ``local_ray`` sets, when it is imported.
    from spectrum.training.workers import fit_trial_on_workers

    shard_set = ShardSet.open(shards)
    data = read_sequences(shard_set, read_target(config.target), config.sequences)
    fold = draw_trial_folds(data, config)[0]
    begin = time.time()
    with Moments(storage / "state") as moments:
        fit_trial_on_workers(shards, config, storage=storage, folds=[fold])
    ends = [begin, *moments.written]
    return [end - start for start, end in pairwise(ends)]


def peer_seconds(shards: Path, config: TrialConfig, folder: Path) -> list[float]:
    folder.mkdir()
    (folder / "config.json").write_text(config.model_dump_json())
    begin = time.time()
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={NUM_WORKERS}"),
            *("-m", "tests.benchmarks.ddp_peer", str(shards)),
            *(str(folder / name) for name in ("config.json", "seconds.json")),
        ],
        check=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    whole = time.time() - begin
    epochs: list[float] = json.loads((folder / "seconds.json").read_text())
    return [whole - sum(epochs[1:]), *epochs[1:]]


def compared_epochs(shards: Path, folder: Path) -> Iterator[dict[str, Any]]:
    config = config_of()
    found: dict[str, list[list[float]]] = {"ours": [], "peer": []}
    for number in range(NUM_ROUNDS):
        found["ours"].append(our_seconds(shards, config, folder / f"ours{number}"))
        found["peer"].append(peer_seconds(shards, config, folder / f"peer{number}"))
    epoch = {
        name: min(statistics.median(seconds[1:]) for seconds in rounds)
        for name, rounds in found.items()
    }
    case = "seconds an epoch, Ray Train : torchrun DDP, 2 workers"
    yield row(case, epoch["ours"], epoch["peer"], 1.05)
    start = {name: min(r[0] for r in rounds) - epoch[name] for name, rounds in found.items()}
    yield row(
        "seconds before the first epoch, on a Ray that runs", start["ours"], start["peer"], None
    )


def killed(shards: Path, folder: Path, num_kills: int) -> Iterator[dict[str, Any]]:
    """Fit the four folds of leave-one-subject-out, undisturbed and with kills."""
    from spectrum.training.workers import fit_trial_on_workers
    from tests.killed_workers import fit_with_kills

    config = config_of(num_epochs=num_kills, max_failures=num_kills, min_steps_per_epoch=4)
    begin = time.perf_counter()
    fit_trial_on_workers(shards, config, storage=folder / "calm")
    calm_s = time.perf_counter() - begin
    begin = time.perf_counter()
    *_, kills = fit_with_kills(shards, config, folder / "killed", num_kills=num_kills)
    killed_s = time.perf_counter() - begin
    calm, after = (weights(folder / name / "checkpoints") for name in ("calm", "killed"))
    yield {
        **row("seconds of the whole fit, with kills : undisturbed", killed_s, calm_s, None),
        "num_kills": len(kills.recovered_s),
        "weights_equal": calm == after,
        "repeated_s": spread(kills.repeated_s),
        "recovered_s": spread(kills.recovered_s),
        "lost_s_a_kill": (killed_s - calm_s) / max(1, len(kills.recovered_s)),
    }


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def weights(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))]


def row(case: str, ours: float, peer: float, goal: float | None) -> dict[str, Any]:
    return {
        "benchmark": "workers",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "goal": "told" if goal is None else f"<= {goal}",
        "met": None if goal is None else ours / peer <= goal,
        **measured_here(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--kills", type=int, default=0, help="workers to kill; then nothing else")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, local_ray(object_store_gib=0.5):
        folder = Path(name)
        shards = write_shards(folder)
        rows = (
            killed(shards, folder, arguments.kills)
            if arguments.kills
            else compared_epochs(shards, folder)
        )
        for told in rows:
            sys.stdout.write((json.dumps(told) if arguments.json else text_of(told)) + "\n")
            sys.stdout.flush()


def text_of(told: dict[str, Any]) -> str:
    text = f"{told['case']}: {told['ours']:.4g} against {told['peer']:.4g}, "
    text += f"ratio {told['ratio']:.3f} (goal: {told['goal']})"
    known = ("benchmark", "case", "ours", "peer", "ratio", "goal", "met", "machine", "date")
    return "; ".join([text, *(f"{k}: {v}" for k, v in told.items() if k not in known)])


if __name__ == "__main__":
    main()
