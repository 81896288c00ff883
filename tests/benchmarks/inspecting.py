"""How long does it take to know every run of a large data set?

    python tests/benchmarks/inspecting.py --runs 5000 --json

Writes a BIDS tree of header-only images (a few voxels each) with events and sidecars, and then
indexes and inspects it. ``peer`` is a plain loop that opens each image with nibabel, reads its
sidecar and its events with pandas, and checks nothing. Both run once to warm the page cache.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from spectrum.data.bids import index_bids, inspect_table
from spectrum.launch import available_cpus
from spectrum.targets import read_target

GOAL_S = 10.0
RUNS_PER_SUBJECT = 10


def write_tree(root: Path, num_runs: int) -> Path:
    image = nib.Nifti1Image(np.zeros((4, 5, 6, 20), dtype=np.int16), np.diag([3, 3, 4, 1.0]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    packed = gzip.compress(image.to_bytes())
    rows = "".join(f"{0.8 * row:.1f}\t0.5\tgo\n" for row in range(48))
    root.mkdir(parents=True)
    (root / "task-x_bold.json").write_text('{"RepetitionTime": 2.0}', encoding="utf-8")
    for index in range(num_runs):
        subject, run = divmod(index, RUNS_PER_SUBJECT)
        folder = root / f"sub-{subject:04d}" / "func"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"sub-{subject:04d}_task-x_run-{run + 1}"
        (folder / f"{stem}_bold.nii.gz").write_bytes(packed)
        text = "onset\tduration\ttrial_type\n" + rows
        (folder / f"{stem}_events.tsv").write_text(text, encoding="utf-8")
    return root


def ours(root: Path) -> int:
    return int(inspect_table(index_bids([root]), read_target("early_late"))["num_usable"])


def peer(root: Path) -> int:
    shapes = []
    for path in sorted(root.glob("sub-*/func/*_bold.nii.gz")):
        shapes.append(nib.load(path).shape)
        json.loads((root / "task-x_bold.json").read_text())
        pd.read_csv(str(path).replace("_bold.nii.gz", "_events.tsv"), sep="\t")
    return len(shapes)


def seconds_of(function: Callable[[Path], int], root: Path, num_runs: int) -> float:
    begin = time.perf_counter()
    found = function(root)
    assert found == num_runs
    return time.perf_counter() - begin


def compare(num_runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = write_tree(Path(folder) / "large", num_runs)
        for function in (ours, peer):
            seconds_of(function, root, num_runs)
        ours_s, peer_s = (
            min(seconds_of(function, root, num_runs) for _ in range(3))
            for function in (ours, peer)
        )
    return {
        "benchmark": "inspecting",
        "case": f"{num_runs} runs, seconds",
        "ours": round(ours_s, 2),
        "peer": round(peer_s, 2),
        "ratio": round(ours_s / peer_s, 3),
        "goal": f"under {GOAL_S:g} s for 5000 runs",
        "met": ours_s < GOAL_S * num_runs / 5000,
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--runs", type=int, default=5000)
    arguments = parser.parse_args()
    told = compare(arguments.runs)
    text = (
        json.dumps(told)
        if arguments.json
        else f"{told['case']}: {told['ours']} s against {told['peer']} s, ratio {told['ratio']}"
    )
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
