"""Are the numbers true? The default configuration on data whose truth is planted.

    python tests/benchmarks/truths.py --json [--truths effect null ...] [--seeds 1 2 3]

Trains the default configuration of ``quickstart`` for each seed and truth, over
leave-one-dataset-out folds, or grouped ones for ``site`` and ``leak``, whose targets ask another
question. ``ours`` is the score, ``peer`` chance. An effect must have p < 0.01. A null must score
in the central 95 % of what guessing gives for as many subjects. A leak whose people stand on one
side of every fold must not score above it; below it may be, as a class that is rare in a
held-out group is frequent among the others. Learning and the clock agree on ``early_late``, and
site and ``stage`` do: scores of ``clock``, ``reversal`` and ``site`` have no goal, and what
tells them apart is the floor and the dissociations.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from spectrum.config import TrialConfig, config_from_mapping, set_paths
from spectrum.data.simulate import SimulationConfig, TruthName, simulate
from spectrum.launch import available_cpus, local_ray
from spectrum.records import ScoreRecord
from spectrum.search.single import train_single
from spectrum.search.space import read_space

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"
EFFECT_PERCENT = 6.0
"""A strong effect: 4 subjects a data set must suffice for a network to find it."""

QUESTIONS: Final[dict[TruthName, dict[str, str]]] = {
    "effect": {},
    "null": {},
    "clock": {},
    "reversal": {},
    "site": {"target": "stage", "folds.scheme": "grouped-k-fold"},
    "leak": {"target": "leak.yaml", "folds.scheme": "grouped-k-fold"},
}
"""Settings of the question that each truth is asked, beside the default configuration's."""


def chance_interval(score: ScoreRecord, *, num_draws: int = 20_000) -> tuple[float, float]:
    """Return the central 95 % of a guessing decoder's score.

    Each pair is a coin; without pairs each subject is, of whom all runs have one class.
    """
    rng = np.random.default_rng(0)
    counts = score.details.get("num_pairs_by_group", {})
    pairs = np.array(list(counts.values()) or [1] * score.num_groups)
    scores = rng.binomial(pairs, 0.5, size=(num_draws, len(pairs))) / pairs
    low, high = np.quantile(scores.mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def question(truth: TruthName, folder: Path) -> TrialConfig:
    values: dict[str, Any] = dict(QUESTIONS[truth])
    if values.get("target") == "leak.yaml":
        values["target"] = str(folder / "leak.yaml")
    default = read_space(SPACE).default_config.model_dump(mode="json")
    return config_from_mapping(TrialConfig, set_paths(default, values))


def goal_of(truth: TruthName, score: ScoreRecord) -> tuple[str | None, bool | None]:
    if truth == "effect":
        return "p < 0.01", score.p < 0.01
    low, high = chance_interval(score)
    if truth == "null":
        return f"inside [{low:.3f}, {high:.3f}]", low <= score.value <= high
    if truth == "leak":
        return f"at most {high:.3f}", score.value <= high
    return None, None


def compare(truth: TruthName, seed: int, num_subjects: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "bids"
        simulation = SimulationConfig(
            truth=truth, num_subjects=num_subjects, seed=seed, effect_percent=EFFECT_PERCENT
        )
        roots = simulate(out, simulation)
        result = train_single(
            question(truth, out),
            roots,
            shards_root=Path(folder) / "shards",
            out=Path(folder) / "trained",
            on_epoch=lambda record: None,
        )
    goal, is_met = goal_of(truth, result.score)
    floor = result.floor.to_json()["floor"]
    return {
        "benchmark": "truths",
        "case": f"{truth}, seed {seed}, {num_subjects} subjects a data set",
        "ours": result.score.value,
        "peer": result.score.chance,
        "ratio": result.score.value / result.score.chance,
        "goal": goal,
        "met": is_met,
        "p": result.score.p,
        "ci95": result.score.ci95,
        "floor": floor["score"],
        "floor_ci95": floor["ci95"],
        "seconds": round(result.seconds, 1),
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def comparisons(
    truths: Sequence[TruthName], seeds: Sequence[int], num_subjects: int
) -> Iterator[dict[str, Any]]:
    with local_ray():
        for truth in truths:
            for seed in seeds:
                yield compare(truth, seed, num_subjects)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--truths", nargs="+", choices=list(QUESTIONS), default=list(QUESTIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--subjects", type=int, default=4)
    arguments = parser.parse_args()
    for told in comparisons(arguments.truths, arguments.seeds, arguments.subjects):
        verdict = {True: "met", False: "missed", None: "reported"}[told["met"]]
        text = (
            json.dumps(told)
            if arguments.json
            else f"{told['case']}: {told['ours']:.3f}, chance {told['peer']:.3f}, "
            f"floor {told['floor']:.3f}, p = {told['p']:.4f}, goal {told['goal']}: {verdict}"
        )
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
