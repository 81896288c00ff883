"""Does the score grow with the effect, and stand at chance without one?

    python -m tests.benchmarks.effect_size --json

The default model on planted runs whose mean volume differs by class: a pattern of smooth waves,
as large beside the noise of a voxel as ``SIZES`` says, 20 subjects with a run of each class,
predicted by the fold that held them out. ``ours`` is the mean balanced accuracy over seeds,
``peer`` that of the matched filter, which knows the pattern: no decoder does better.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceData

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.blocks import (
    SHAPE_SHW,
    VOLUMES_OF_RUN,
    config,
    interval,
    pattern,
    planted_runs,
    score,
    tell,
)
from tests.benchmarks.telling import measured_here

SIZES = (0.0, 0.01, 0.02, 0.04)
"""Standard deviation of the pattern's voxels over that of the noise of a voxel in a volume."""


def patterns_of(seed: int) -> NDArray[np.float64]:
    """The pattern of each class: one, and its opposite."""
    shown = pattern(np.random.default_rng([seed, 7]), SHAPE_SHW)
    return np.stack([shown, -shown])


def planted(seed: int, size: float) -> SequenceData:
    patterns = patterns_of(seed)

    def signal(class_index: int) -> NDArray[np.float64]:
        return np.broadcast_to(size * patterns[class_index], (VOLUMES_OF_RUN, *SHAPE_SHW))

    return planted_runs(signal, np.random.default_rng([seed, 8]), name=f"size-{size}-{seed}")


def matched_filter(data: SequenceData, seed: int) -> float:
    """The balanced accuracy of who knows the pattern."""
    shown = patterns_of(seed)[0]
    projections = (data.slices_VSHW.astype(np.float64) * shown).sum(axis=(1, 2, 3))
    of_runs = projections.reshape(-1, VOLUMES_OF_RUN).mean(axis=1)
    classes = np.array([unit.class_index for unit in data.table.units])
    return float(np.mean([((of_runs < 0) == c)[classes == c].mean() for c in (0, 1)]))


def compare(seed: int, size: float) -> dict[str, Any]:
    data = planted(seed, size)
    found, best = score(data, config(seed)), matched_filter(data, seed)
    return {"size": size, "seed": seed, "model": found, "best": best}


def summary(lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each size: mean over seeds and its interval."""
    for size in SIZES:
        found = [line for line in lines if line["size"] == size]
        if len(found) < 2:
            continue
        ours, best = (np.array([line[arm] for line in found]) for arm in ("model", "best"))
        low, high = interval(ours)
        yield {
            "benchmark": "effect_size",
            "case": f"pattern of {size:g} noise SD, {len(found)} seeds",
            "ours": round(float(ours.mean()), 3),
            "peer": round(float(best.mean()), 3),
            "ratio": round(float(ours.mean() / best.mean()), 3),
            "ci95": [round(low, 3), round(high, 3)],
            "goal": f"95 % interval {'holds' if size == 0.0 else 'above'} 0.5",
            "met": bool(low <= 0.5 <= high) if size == 0.0 else low > 0.5,
            **measured_here(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--table", nargs="+", type=Path, help="lines of earlier runs to sum up")
    arguments = parser.parse_args()
    if arguments.table:
        text = "\n".join(path.read_text() for path in arguments.table)
        lines = [json.loads(line) for line in text.splitlines() if '"seed"' in line]
    else:
        lines = []
        for seed in arguments.seeds:
            for size in SIZES:
                lines.append(compare(seed, size))
                tell(lines[-1], as_json=arguments.json)
    for row in summary(lines):
        tell(row, as_json=arguments.json)


if __name__ == "__main__":
    main()
