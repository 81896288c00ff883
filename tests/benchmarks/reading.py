"""What reading costs, and what judging an image and knowing its voxels again add to it.

    python -m tests.benchmarks.reading --json

One run of 64 x 64 x 36 voxels and 200 volumes, int16, compressed as nibabel writes it. Times are
the best of several rounds, taken in turn on one core's worth of threads; nibabel reads to the last
voxel and checks nothing. ``ours`` and ``peer`` are seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spectrum.data.images import digest_image, read_bold
from spectrum.data.voxels import check_voxels

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.telling import measured_here
from tests.tiny_bids import tiny_data, write_nifti

NUM_ROUNDS = 9


def full_size() -> NDArray[np.int16]:
    return tiny_data(200, seed=0, shape=(64, 64, 36))


def best_times(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Time calls in turn, round after round, so that a busy moment meets them all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(NUM_ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def compared(folder: Path) -> Iterator[dict[str, Any]]:
    path = write_nifti(folder / "a_bold.nii.gz", full_size())
    data_XYZV = read_bold(path).data_XYZV
    stored = data_XYZV.tobytes(order="F")
    seconds = best_times(
        {
            "read": lambda: read_bold(path),
            "nibabel": lambda: np.asarray(nib.load(path).dataobj),
            "check": lambda: check_voxels(data_XYZV),
            "hash": lambda: hashlib.sha256(stored).hexdigest(),
            "digest": lambda: digest_image(path),
        }
    )
    bare = seconds["read"] - seconds["check"] - seconds["hash"]
    yield _told("read_bold against nibabel", seconds["read"], seconds["nibabel"], 1.0)
    yield _told("reading with checks against without", bare + seconds["check"], bare, 1.1)
    yield _told("reading with voxel digest against without", bare + seconds["hash"], bare, None)
    yield _told("digest_image against read_bold", seconds["digest"], seconds["read"], 1.0)
    per_volume = seconds["check"] / data_XYZV.shape[3]
    yield _told("check_voxels, a volume, against 1 ms", per_volume, 1e-3, 1.0)


def _told(case: str, ours: float, peer: float, most: float | None) -> dict[str, Any]:
    ratio = ours / peer
    return {
        "benchmark": "reading",
        "case": case,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "goal": "none" if most is None else f"ratio of at most {most:g}",
        "met": most is None or ratio <= most,
        **measured_here(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for told in compared(Path(folder)):
            text = f"{told['case']}: {told['ours']:.4g} s against {told['peer']:.4g} s"
            text += f", ratio {told['ratio']:.3f} (goal: {told['goal']})"
            sys.stdout.write((json.dumps(told) if arguments.json else text) + "\n")


if __name__ == "__main__":
    main()
