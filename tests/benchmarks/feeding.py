"""How fast volumes come from shards to torch, and what four trials on a node share.

    python -m tests.benchmarks.feeding --json

One shard set of 8 runs of 200 volumes at 4 mm (float16, brain mask), warm: its files are in
memory. A reader compares the checksum of a run when it reads it first, and not again. Rates are
the best of several rounds, taken in turn. ``copy`` is what numpy copies between two arrays of the
same size that exist already; Ray Data reads the same volumes from the Parquet tensor column that
it writes by default. ``ours`` and ``peer`` are bytes per second, seconds or bytes, as the case
says.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig, TrialConfig, config_from_mapping
from spectrum.data.manifest import ShardManifest, ShardRun, content_hash, write_manifest
from spectrum.data.quality import VOLUME_QUALITY_NAMES
from spectrum.data.sequences import read_into, read_sequences, resident_sequences, stream_sequences
from spectrum.data.shards import (
    RunSource,
    ShardSet,
    content_digest,
    shard_name,
    write_piece,
    write_shard,
)
from spectrum.data.units import SequenceRuns
from spectrum.launch import available_cpus, local_ray
from spectrum.targets import read_target
from spectrum.training.batches import order_by_runs
from spectrum.training.resident import ResidentData
from spectrum.training.run_feed import RunFeed

SHAPE = (46, 55, 46)
NUM_VOLUMES = 200
NUM_SUBJECTS = 4
NUM_TRIALS = 4
NUM_ROUNDS = 7
MIB = 2**20
CPU = torch.device("cpu")
TASK = "deterministicclassification"
CONFIG = config_from_mapping(TrialConfig, {"sequences": {"num_volumes": 8, "stride": 8}})


def volumes_of(number: int) -> NDArray[np.float16]:
    """Noise inside an ellipsoid, zero outside, as a masked and standardised run."""
    rng = np.random.default_rng(number)
    axes = (np.linspace(-1, 1, size) for size in SHAPE)
    z, y, x = np.meshgrid(*axes, indexing="ij")
    noise = rng.standard_normal((NUM_VOLUMES, *SHAPE), dtype=np.float32)
    return (noise * (z**2 + y**2 + x**2 < 1)).astype(np.float16)


def write_run(folder: Path, number: int) -> tuple[ShardRun, RunSource]:
    slices = volumes_of(number)
    quality = {name: np.zeros(NUM_VOLUMES) for name in VOLUME_QUALITY_NAMES}
    run = ShardRun.model_validate(
        {
            "dataset": "ds000002",
            "subject": f"{number // 2 + 1:02d}",
            "task": TASK,
            "run": f"0{number % 2 + 1}",
            "num_volumes": NUM_VOLUMES,
            "tr_s": 2.0,
            "voxel_mm": (4.0, 4.0, 4.0),
            "source_shape": (*SHAPE[::-1], NUM_VOLUMES),
            "shape_SHW": SHAPE,
            "image_sha256": f"{number:064x}",
            "fingerprint": f"{number:064x}",
            "content_sha256": "",
            "quality": {},
        }
    )
    digest = content_digest(run, slices, quality)
    run = run.model_copy(update={"content_sha256": digest})
    write_piece(folder / f"{number}.parquet", run, slices, quality)
    return run, RunSource(path=str(folder / f"{number}.parquet"), row_group=0)


def write_set(folder: Path) -> ShardSet:
    """Write one file a subject, two runs each."""
    pieces, out = folder / "pieces", folder / "set"
    pieces.mkdir()
    out.mkdir()
    placed: list[ShardRun] = []
    for subject in range(NUM_SUBJECTS):
        written = [write_run(pieces, 2 * subject + number) for number in range(2)]
        runs = [run for run, _ in written]
        name = shard_name(runs)
        write_shard(out / name, SHAPE, [source for _, source in written])
        placed += [
            run.model_copy(update={"shard": name, "row_group": group})
            for group, run in enumerate(runs)
        ]
    manifest = ShardManifest(
        recipe=PreprocessingConfig(),
        fingerprint="benchmark",
        inputs="benchmark",
        shape_SHW=SHAPE,
        runs=tuple(placed),
        num_volumes=len(placed) * NUM_VOLUMES,
        content_hash=content_hash(tuple(placed), SHAPE),
    )
    write_manifest(manifest, out)
    return ShardSet.open(out)


def streamed_of(shards: ShardSet) -> SequenceRuns:
    return stream_sequences(shards, read_target(CONFIG.target), CONFIG.sequences)


def best_times(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time calls in turn, round after round, so that a busy moment meets them all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(NUM_ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def compared_reading(shards: ShardSet, folder: Path) -> Iterator[dict[str, Any]]:
    streamed = streamed_of(shards)
    ours = resident_sequences(streamed).slices_VSHW
    source, out = ours.copy(), np.zeros_like(ours)
    target = torch.from_numpy(out)
    seconds = best_times(
        {
            "tensor": lambda: read_into(target.numpy(), streamed_of(shards)),
            "tensor again": lambda: read_into(target.numpy(), streamed),
            "resident": lambda: torch.from_numpy(read_again(shards)),
            "copy": lambda: np.copyto(out, source),
            "copy anew": lambda: source.copy(),
        }
    )
    rate = {name: ours.nbytes / found for name, found in seconds.items()}
    yield _told("shards to torch, bytes/s, against copy", rate["tensor"], rate["copy"], 0.4)
    again = "shards to torch again by the same reader, bytes/s, against copy"
    yield _told(again, rate["tensor again"], rate["copy"], 0.4)
    yield _told(
        "shards to a new resident tensor, bytes/s, against copy to a new array",
        rate["resident"],
        rate["copy anew"],
        0.4,
    )
    peer = ours.nbytes / ray_data_seconds(ours, folder)
    yield _told(
        "shards to torch, bytes/s, against Ray Data's tensor column", rate["tensor"], peer, 20
    )


def read_again(shards: ShardSet) -> NDArray[np.float16]:
    return read_sequences(shards, read_target(CONFIG.target), CONFIG.sequences).slices_VSHW


def ray_data_seconds(volumes: NDArray[np.float16], folder: Path) -> float:
    """Return the seconds in which Ray Data reads the volumes to torch, the better of two."""
    import ray.data

    path = str(folder / "tensors")
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.from_numpy(list(np.split(volumes, NUM_SUBJECTS))).write_parquet(path)
    found = []
    for _ in range(2):
        start = time.perf_counter()
        batches = ray.data.read_parquet(path).iter_torch_batches(batch_size=64)
        count = sum(len(batch["data"]) for batch in batches)
        found.append(time.perf_counter() - start)
        assert count == len(volumes)
    return min(found)


def compared_streaming(shards: ShardSet) -> Iterator[dict[str, Any]]:
    """An epoch of batches of 16 in each mode; a budget of two runs, two runs mixed at a time."""
    streamed = streamed_of(shards)
    resident = ResidentData.place(resident_sequences(streamed), CPU)
    feed = RunFeed(streamed, CPU, capacity_bytes=2 * streamed.num_bytes // (2 * NUM_SUBJECTS))
    runs = torch.from_numpy(streamed.table.run_of_sequence)
    order = order_by_runs(runs, 2, torch.Generator().manual_seed(0))
    parts = list(order.split(16))
    seconds = best_times(
        {
            "stream": lambda: _drain(feed.iter_read(parts)),
            "resident": lambda: _drain(resident.iter_read(parts)),
        }
    )
    yield _told("an epoch streamed, seconds, against resident", *seconds.values(), None)


def _drain(batches: Iterator[torch.Tensor]) -> float:
    return sum(float(batch[0, 0, 0, 0, 0]) for batch in batches)


class Trial:
    """A process as a trial is one, and its memory."""

    def __init__(self, path: str) -> None:
        # Ray may be imported only after its token is set.
        from spectrum.training.node_copies import NodeCopies

        self.shards = ShardSet.open(Path(path))
        self.copies = NodeCopies()
        self.shared: Any = None

    def take(self) -> float:
        """Take part in the copy; return the seconds that it took, cutting sequences included."""
        start = time.perf_counter()
        self.shared = self.copies.share(streamed_of(self.shards), self.shards, "axial")
        assert isinstance(self.shared, SequenceRuns), self.shared.reason
        return time.perf_counter() - start

    def read_all(self) -> float:
        """Look at every voxel, so that all pages are in."""
        used = self.shared.table.used_runs
        return float(sum(self.shared.read_run(index).view(np.int16).max() for index in used))

    def memory(self) -> dict[str, int]:
        found = psutil.Process(os.getpid()).memory_full_info()
        return {"rss": found.rss, "uss": found.uss, "pss": found.pss}


def compared_sharing(shards: ShardSet) -> Iterator[dict[str, Any]]:
    import ray

    from spectrum.training.node_copies import NodeCopies

    num_bytes = streamed_of(shards).num_bytes
    owner = NodeCopies()
    owner.start()
    actor = ray.remote(Trial).options(num_cpus=0)
    trials = [actor.remote(str(shards.path)) for _ in range(NUM_TRIALS)]
    before = ray.get([trial.memory.remote() for trial in trials])
    together = ray.get([trial.take.remote() for trial in trials])
    again = ray.get([trial.take.remote() for trial in trials])
    ray.get([trial.read_all.remote() for trial in trials])
    after = ray.get([trial.memory.remote() for trial in trials])
    details = {
        "num_bytes": num_bytes,
        "copies": sum(owner.sizes().values()),
        "first_seconds": together,
        "seconds": again,
        "mib_before": _mib(before),
        "mib_after": _mib(after),
    }
    yield (
        _told("a trial takes a copy that is there, seconds, slowest of 4", max(again), 0.3, -1)
        | details
    )
    own = [now["uss"] - then["uss"] for now, then in zip(after, before, strict=True)]
    yield _told(
        "memory of its own that each of 4 trials took, bytes, against the volumes",
        max(own),
        num_bytes,
        -0.1,
    )
    yield _told("copies of 4 trials, bytes, against the volumes", details["copies"], num_bytes, -1)


def _mib(found: Sequence[dict[str, int]]) -> list[dict[str, int]]:
    return [{name: value // MIB for name, value in one.items()} for one in found]


def _told(case: str, ours: float, peer: float, goal: float | None) -> dict[str, Any]:
    """Describe a comparison; a goal below 0 is what the ratio may reach at most."""
    ratio = ours / peer
    text, met = "none", True
    if goal is not None:
        text = f"ratio of at {'least' if goal > 0 else 'most'} {abs(goal):g}"
        met = ratio >= goal if goal > 0 else ratio <= -goal
    return {
        "benchmark": "feeding",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "goal": text,
        "met": met,
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, local_ray(object_store_gib=3.0):
        folder = Path(name)
        shards = write_set(folder)
        for compare in (
            lambda: compared_reading(shards, folder),
            lambda: compared_streaming(shards),
            lambda: compared_sharing(shards),
        ):
            for told in compare():
                text = f"{told['case']}: {told['ours']:.4g} against {told['peer']:.4g}, "
                text += f"ratio {told['ratio']:.3f} (goal: {told['goal']})"
                sys.stdout.write((json.dumps(told) if arguments.json else text) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
