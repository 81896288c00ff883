"""Are the numbers true? The default configuration on data with a planted effect, and with none.

    python tests/benchmarks/truths.py --json

Trains the default configuration of ``quickstart`` over leave-one-dataset-out folds for each
seed and truth. ``ours`` is the score, ``peer`` chance. An effect must have p < 0.01; a null
must score in the central 95 % of what guessing gives for as many pairs and subjects.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spectrum.config import TrialConfig
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.launch import available_cpus, local_ray
from spectrum.records import ScoreRecord
from spectrum.search.single import train_single
from spectrum.search.space import read_space

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"
EFFECT_PERCENT = 6.0
"""A strong effect: 4 subjects a data set must suffice for a network to find it."""

TRUTHS: tuple[Literal["effect", "null"], ...] = ("effect", "null")


def chance_interval(score: ScoreRecord, *, num_draws: int = 20_000) -> tuple[float, float]:
    """Return the central 95 % of a guessing decoder's score, by flipping each subject's score."""
    rng = np.random.default_rng(0)
    pairs = np.array(list(score.details["num_pairs_by_group"].values()))
    scores = rng.binomial(pairs, 0.5, size=(num_draws, len(pairs))) / pairs
    low, high = np.quantile(scores.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def compare(truth: Literal["effect", "null"], seed: int, num_subjects: int) -> dict[str, Any]:
    config: TrialConfig = read_space(SPACE).default_config
    with tempfile.TemporaryDirectory() as folder:
        simulation = SimulationConfig(
            truth=truth, num_subjects=num_subjects, seed=seed, effect_percent=EFFECT_PERCENT
        )
        roots = simulate(Path(folder) / "bids", simulation)
        result = train_single(
            config,
            roots,
            shards_root=Path(folder) / "shards",
            out=Path(folder) / "trained",
            on_epoch=lambda record: None,
        )
    low, high = chance_interval(result.score)
    is_met = result.score.p < 0.01 if truth == "effect" else low <= result.score.value <= high
    floor = result.floor.to_json()["floor"]
    return {
        "benchmark": "truths",
        "case": f"{truth}, seed {seed}, {num_subjects} subjects a data set",
        "ours": result.score.value,
        "peer": result.score.chance,
        "ratio": result.score.value / result.score.chance,
        "goal": "p < 0.01" if truth == "effect" else f"inside [{low:.3f}, {high:.3f}]",
        "met": bool(is_met),
        "p": result.score.p,
        "ci95": result.score.ci95,
        "floor": floor["score"],
        "floor_ci95": floor["ci95"],
        "seconds": round(result.seconds, 1),
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def comparisons(seeds: list[int], num_subjects: int) -> Iterator[dict[str, Any]]:
    with local_ray():
        for seed in seeds:
            for truth in TRUTHS:
                yield compare(truth, seed, num_subjects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--subjects", type=int, default=4)
    arguments = parser.parse_args()
    for told in comparisons(arguments.seeds, arguments.subjects):
        text = (
            json.dumps(told)
            if arguments.json
            else f"{told['case']}: {told['ours']:.3f}, p = {told['p']:.4f}, goal {told['goal']}: "
            f"{'met' if told['met'] else 'missed'}"
        )
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
