"""What do twelve recipes cost that differ after the mask alone, and what does one more run cost?

    python -m tests.benchmarks.shared_prefix --json

One simulated data set of full size, with motion correction and normalisation. ``ours`` is the time
of all twelve recipes, ``peer`` that of the first one alone, in the same process and on the same
Ray, so that ``ratio`` says how much of the work is shared. The second comparison adds one run to
a set that is made, beside making that set.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.launch import available_cpus, local_ray

GOAL_RATIO = 3.0
DATASET = "ds000052"


def recipes() -> list[PreprocessingConfig]:
    """Return twelve recipes with one spatial part."""
    choices = itertools.product((0.0, 4.0, 6.0), (0.0, 0.008), ("zscore", "percent"))
    return [
        PreprocessingConfig(
            motion_correction=True,
            normalization="mni152",
            voxel_mm=4.0,
            fwhm_mm=fwhm_mm,
            high_pass_hz=high_pass_hz,
            standardization=standardization,  # type: ignore[arg-type]
        )
        for fwhm_mm, high_pass_hz, standardization in choices
    ]


def seconds_of(root: Path, recipe: PreprocessingConfig, shards_root: Path) -> float:
    begin = time.perf_counter()
    result = prepare(index_bids([root]), recipe, shards_root=shards_root)
    assert not result.reused
    return time.perf_counter() - begin


def comparisons(num_subjects: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as name, local_ray():
        folder = Path(name)
        config = SimulationConfig(
            truth="effect", num_subjects=num_subjects, matrix=64, datasets=(DATASET,)
        )
        [root] = simulate(folder / "bids", config)
        prepare(index_bids([root]), PreprocessingConfig(), shards_root=folder / "warm")
        times_s = [seconds_of(root, recipe, folder / "shards") for recipe in recipes()]
        yield told(
            f"12 recipes after one spatial part, {len(list(root.rglob('*_bold.nii.gz')))} runs, s",
            sum(times_s),
            times_s[0],
            f"ratio <= {GOAL_RATIO:g}",
            sum(times_s) <= GOAL_RATIO * times_s[0],
        )
        yield one_more_run(root, folder)


def one_more_run(root: Path, folder: Path) -> dict[str, Any]:
    hidden = sorted(root.rglob("*_bold.nii.gz"))[-1]
    aside = folder / hidden.name
    shutil.move(hidden, aside)
    recipe = recipes()[0]
    whole_s = seconds_of(root, recipe, folder / "more")
    shutil.move(aside, hidden)
    added_s = seconds_of(root, recipe, folder / "more")
    goal = "no more than two runs' share"
    num_runs = len(list(root.rglob("*_bold.nii.gz")))
    met = added_s <= 2 * whole_s / (num_runs - 1) + 2.0
    return told(f"one run added to a set of {num_runs - 1}, s", added_s, whole_s, goal, met)


def told(case: str, ours: float, peer: float, goal: str, met: bool) -> dict[str, Any]:
    return {
        "benchmark": "shared_prefix",
        "case": case,
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": round(ours / peer, 3),
        "goal": goal,
        "met": met,
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--subjects", type=int, default=2)
    arguments = parser.parse_args()
    for comparison in comparisons(arguments.subjects):
        text = (
            json.dumps(comparison)
            if arguments.json
            else f"{comparison['case']}: {comparison['ours']} beside {comparison['peer']}"
        )
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
