"""Is one set made once when many want it at once, and is it whole when its makers are killed?

    python -m tests.benchmarks.single_flight --json --kills 20

Requests are real processes: plain ones for the spatial part of a run, actors of one Ray for a
whole set. ``ours`` is how often it was made, ``peer`` how often it was asked for. Then ``ours`` is
how many sets were whole, right and never half visible, ``peer`` how many lost their makers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spectrum.data.pipeline import Making, prepare
from spectrum.data.spatial_pieces import SpatialPiece, kept_or_made, spatial_path
from spectrum.launch import local_ray

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.telling import measured_here, tell
from tests.integration.prepare_process import (
    RECIPE,
    Undisturbed,
    Watcher,
    kill_a_driver,
    kill_workers,
    make_undisturbed,
    write_runs,
)
from tests.unit.data.dying_tasks import attempts, make_or_die, mark
from tests.unit.data.test_spatial_pieces import piece

NUM_REQUESTS = 16
MAKING_S = 1.0
PARTS = ("part", "set", "driver", "workers")
"""Of the comparison: 16 requests for the part of a run, for a set; whose makers are killed."""


def _want_part(folder: str, together: Any, told: Any) -> None:
    def make() -> SpatialPiece:
        mark(Path(folder), "part")
        time.sleep(MAKING_S)
        return piece()

    together.wait()
    begin = time.monotonic()
    part = kept_or_made(spatial_path(Path(folder) / "parts", "ab" * 32), make)
    told.put((time.monotonic() - begin, part.spatial.signals_VN.tobytes()))


def parts_at_once(folder: Path) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    together, told = context.Barrier(NUM_REQUESTS), context.Queue()
    arguments = (str(folder), together, told)
    wanting = [context.Process(target=_want_part, args=arguments) for _ in range(NUM_REQUESTS)]
    for process in wanting:
        process.start()
    found = [told.get(timeout=120) for _ in wanting]
    for process in wanting:
        process.join()
    assert len({raw for _, raw in found}) == 1
    longest_s = max(seconds for seconds, _ in found)
    case = (
        f"makings of a part of {MAKING_S:g} s, {NUM_REQUESTS} processes, all in {longest_s:.1f} s"
    )
    return told_of(case, attempts(folder)["part"], NUM_REQUESTS, "one making", target=1)


def sets_at_once(folder: Path) -> dict[str, Any]:
    import ray

    root, marks = write_runs(folder / "bids" / "ds000002"), folder / "marks"
    marks.mkdir()

    @ray.remote(num_cpus=0)
    class Trial:
        def begin(self) -> None:
            """Tell that the process is there."""

        def want(self) -> tuple[str, str, bool, float]:
            from spectrum.data.bids import index_bids

            maker = partial(make_or_die, killers=(), times=0, marks=marks)
            how = Making(cpus_per_run=1.0, make_run=maker)
            table = index_bids([root])
            begin = time.monotonic()
            result = prepare(table, RECIPE, shards_root=folder / "shards", how=how)
            seconds = time.monotonic() - begin
            return str(result.shards), result.fingerprint, result.reused, seconds

    trials = [Trial.remote() for _ in range(NUM_REQUESTS)]
    ray.get([trial.begin.remote() for trial in trials])
    results = ray.get([trial.want.remote() for trial in trials])
    for trial in trials:
        ray.kill(trial)
    assert len({(shards, name) for shards, name, _, _ in results}) == 1
    assert sum(not reused for *_, reused, _ in results) == 1
    longest_s = max(seconds for *_, seconds in results)
    made = max(attempts(marks).values())
    case = f"makings of each run of a set, {NUM_REQUESTS} actors, all in {longest_s:.1f} s"
    return told_of(case, made, NUM_REQUESTS, "one making", target=1)


def kills(
    folder: Path, kinds: Sequence[str], num_kills: int, address: str
) -> Iterator[dict[str, Any]]:
    undisturbed = make_undisturbed(folder)
    for kind in kinds:
        right = num_killed = 0
        for seed in range(num_kills):
            rng = np.random.default_rng(seed)
            shards_root = folder / f"{kind}-{seed}"
            killed, watcher = (
                kill_a_driver(undisturbed, shards_root, address, rng)
                if kind == "driver"
                else kill_workers(undisturbed, shards_root, rng)
            )
            num_killed += killed
            right += _is_right(watcher, undisturbed)
            sys.stderr.write(f"{kind} {seed}: {killed} killed, {watcher.num_looks} looks\n")
        case = f"sets whole and never half visible; {kind} killed in the midst: {num_killed}"
        yield told_of(case, right, num_kills, "all", target=num_kills)


def _is_right(watcher: Watcher, undisturbed: Undisturbed) -> bool:
    return not watcher.half_visible and watcher.contents <= {undisturbed.content}


def comparisons(parts: Sequence[str], num_kills: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name:
        folders = {part: Path(name) / part for part in PARTS}
        for folder in folders.values():
            folder.mkdir()
        if "part" in parts:
            yield parts_at_once(folders["part"])
        with local_ray(object_store_gib=0.3):
            import ray

            if "set" in parts:
                yield sets_at_once(folders["set"])
            address = str(ray.get_runtime_context().gcs_address)
            killed = [part for part in ("driver", "workers") if part in parts]
            yield from kills(Path(name), killed, num_kills, address)


def told_of(case: str, ours: int, peer: int, goal: str, *, target: int) -> dict[str, Any]:
    return {
        "benchmark": "single_flight",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": round(ours / peer, 4),
        "goal": goal,
        "met": ours == target,
        **measured_here(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--kills", type=int, default=5, help="of drivers, and of workers")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    for comparison in comparisons(arguments.parts, arguments.kills):
        text = f"{comparison['case']}: {comparison['ours']} of {comparison['peer']}"
        tell(comparison, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
