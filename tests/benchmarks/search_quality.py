"""Does our default find more with fewer trials, and stop trials without losing the best?

    python -m tests.benchmarks.search_quality --json
    python -m tests.benchmarks.search_quality --write

Sampling: the default sampler against random search of three times the trials, on functions with a
known optimum: mixed, conditional, with many local optima, noisy, and a table of small trainings
(``search_table``). ``ours`` and ``peer`` are medians over seeds of the distance from the optimum
of the best trial by score, in its true value. Stopping: simulated learning curves over folds with
subjects of unequal difficulty; ``ours`` is the share of epochs of folds that were trained, and
the case says how much lower the true score of the selected trial is than that of the full run.
Through the study's own driver and journal, without Ray.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spectrum.config import TrialConfig, get_path
from spectrum.records import TrialEpochRecord
from spectrum.search.optuna_study import TrialJournal
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.trials import TrialEnd

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import told
from tests.benchmarks.telling import tell
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, epoch_record, trial_end

NUM_TRIALS = 40
TIMES_MORE = 3
NUM_SEEDS = 20
TABLE = Path(__file__).with_name("search_table.jsonl")
PAGE = Path(__file__).with_name("search_quality.md")

NUM_EPOCHS = 16
NUM_FOLDS = 4
SUBJECTS_PER_FOLD = 10
PAIRS_PER_SUBJECT = 4
NUM_STOPPED_TRIALS = 50
GOAL_SHARE = 0.4
GOAL_LOSS = 0.01
YES = {True: "yes", False: "no"}
FOLDS = [f"ds{fold}" for fold in range(NUM_FOLDS)]

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """A function over the points of a space, to be as high as possible, and its optimum."""

    name: str
    parameters: Mapping[str, Any]
    value: Callable[[Point], float]
    optimum: float
    noise: float = 0.0
    embed_dim: int = 64
    """Width of the default configuration."""

    def space(self, *, sampler: str, seed: int) -> SearchSpace:
        return space_from_mapping(
            {
                "name": "quality",
                "base": {
                    "model": {"embed_dim": self.embed_dim, "num_heads": 4, "temporal_depth": 0},
                },
                "parameters": dict(self.parameters),
                "study": {"sampler": sampler, "seed": seed, "num_trials": NUM_TRIALS},
            }
        )


MIXED = {
    "optimizer.lr": {"log_uniform": [1e-5, 1e-1]},
    "optimizer.weight_decay": {"log_uniform": [1e-4, 1.0]},
    "model.depth": {"int": [1, 8]},
    "model.drop_rate": {"uniform": [0.0, 0.6]},
    "preprocessing.fwhm_mm": {"choice": [0.0, 4.0, 6.0, 9.0]},
    "model.num_heads": {"choice": [1, 2, 4, 8]},
}


def mixed(point: Point) -> float:
    """A bowl over six parameters of all kinds."""
    far = (math.log10(point["optimizer.lr"]) + 2.6) ** 2 / 4
    far += (math.log10(point["optimizer.weight_decay"]) + 1.3) ** 2 / 9
    far += ((point["model.depth"] - 5) / 7) ** 2
    far += (point["model.drop_rate"] - 0.2) ** 2
    far += {0.0: 0.3, 4.0: 0.0, 6.0: 0.1, 9.0: 0.4}[point["preprocessing.fwhm_mm"]]
    return 1.0 - far - {1: 0.2, 2: 0.1, 4: 0.0, 8: 0.05}[point["model.num_heads"]]


CONDITIONAL = {
    "model.temporal_depth": {"int": [0, 3]},
    "optimizer.lr": {"log_uniform": [1e-5, 1e-1]},
    "model.drop_rate": {"uniform": [0.0, 0.6], "when": {"model.temporal_depth": [1, 2, 3]}},
    "model.temporal_pooling": {
        "choice": ["mean", "attention"],
        "when": {"model.temporal_depth": [1, 2, 3]},
    },
    "training.noise_std": {"uniform": [0.0, 1.0], "when": {"model.temporal_depth": 0}},
}


def conditional(point: Point) -> float:
    """Two branches: one easy and good, one with more parameters and better."""
    rate = math.log10(point["optimizer.lr"])
    if point["model.temporal_depth"] == 0:
        return 0.8 - (rate + 4) ** 2 / 6 - (point["training.noise_std"] - 0.7) ** 2
    far = (rate + 2.5) ** 2 / 3 + 3 * (point["model.drop_rate"] - 0.35) ** 2
    far += 0.1 * abs(point["model.temporal_depth"] - 2)
    return 1.0 - far - (0.15 if point["model.temporal_pooling"] == "mean" else 0.0)


RUGGED = {
    "optimizer.lr": {"log_uniform": [1e-5, 1e-1]},
    "optimizer.weight_decay": {"log_uniform": [1e-5, 1e-1]},
    "training.noise_std": {"uniform": [0.0, 1.0]},
    "model.drop_rate": {"uniform": [0.0, 0.6]},
}


def rugged(point: Point) -> float:
    """A bowl with ripples, so that there are many local optima."""
    x = [math.log10(point["optimizer.lr"]) + 2.5, math.log10(point["optimizer.weight_decay"]) + 3]
    x += [2 * (point["training.noise_std"] - 0.3), 3 * (point["model.drop_rate"] - 0.15)]
    return 1.0 - sum(v * v / 8 + 0.04 * (1 - math.cos(2 * math.pi * v)) for v in x)


def problems() -> list[Problem]:
    """Return the functions; the table only where it was made."""
    return [
        Problem("mixed", MIXED, mixed, 1.0),
        Problem("conditional", CONDITIONAL, conditional, 1.0),
        Problem("rugged", RUGGED, rugged, 1.0),
        Problem("noisy", MIXED, mixed, 1.0, noise=0.1),
        *tabulated(),
    ]


def tabulated() -> list[Problem]:
    """Return the table of small trainings as a function, once it is complete.

    Between two learning rates of the table the value is interpolated on the logarithmic scale.
    """
    text = TABLE.read_text(encoding="utf-8") if TABLE.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    axes = (
        {path: sorted({row["point"][path] for row in rows}) for path in rows[0]["point"]}
        if rows
        else {}
    )
    if not rows or len(rows) < math.prod(len(axis) for axis in axes.values()):
        return []
    rates = np.log(axes.pop("optimizer.lr"))
    curves: dict[tuple[Any, ...], dict[float, float]] = {}
    for row in rows:
        key = tuple(row["point"][path] for path in axes)
        curves.setdefault(key, {})[row["point"]["optimizer.lr"]] = row["score"]

    def value(point: Point) -> float:
        curve = curves[tuple(point[path] for path in axes)]
        heights = [curve[rate] for rate in sorted(curve)]
        return float(np.interp(math.log(point["optimizer.lr"]), rates, heights))

    ends = [float(np.exp(rates[0])), float(np.exp(rates[-1]))]
    parameters: dict[str, Any] = {path: {"choice": axis} for path, axis in axes.items()}
    parameters["optimizer.lr"] = {"log_uniform": ends}
    best = max(row["score"] for row in rows)
    name = f"table of {len(rows)} trainings"
    return [Problem(name, parameters, value, best, embed_dim=axes["model.embed_dim"][0])]


def regret(problem: Problem, *, sampler: str, seed: int, num_trials: int) -> float:
    """Return how far below the optimum the best trial by score is, in its true value."""
    rng = np.random.default_rng([seed, num_trials])
    with tempfile.TemporaryDirectory() as name:
        journal = TrialJournal(Path(name) / "journal", problem.space(sampler=sampler, seed=seed))
        best = (-math.inf, -math.inf)
        for _ in range(num_trials):
            proposal = journal.ask()
            true = problem.value(proposal.point)
            score = true + problem.noise * float(rng.normal())
            journal.tell(proposal.number, "complete", values=(score,))
            # The default is no proposal, and may be good or bad by design.
            best = max(best, (score, true)) if proposal.number else best
    return problem.optimum - best[1]


def sampling(num_seeds: int) -> Iterator[dict[str, Any]]:
    for problem in problems():
        ours, peer = (
            statistics.median(
                regret(problem, sampler=sampler, seed=seed, num_trials=num)
                for seed in range(num_seeds)
            )
            for sampler, num in (("tpe", NUM_TRIALS), ("random", TIMES_MORE * NUM_TRIALS))
        )
        yield told(
            "search_quality",
            f"{problem.name}: regret of tpe, {NUM_TRIALS} trials, beside random, "
            f"{TIMES_MORE * NUM_TRIALS}",
            ours=round(ours, 4),
            peer=round(peer, 4),
            ratio=round(ours / peer, 3) if peer else float(ours > 0),
            goal="ours <= peer",
            met=bool(ours <= peer),
        )


class Curves:
    """Simulated trainings: curves that rise to the planted score, over folds and subjects.

    A subject's outcome is a share of pairs; its difficulty is the same in all trials, so that two
    trials are alike on it.
    """

    def __init__(self, *, seed: int, by_fold: bool) -> None:
        rng = np.random.default_rng([seed, 17])
        self.seed, self.by_fold, self.num_trained = seed, by_fold, 0
        names = [(f, f"{f}/sub-{s}") for f in FOLDS for s in range(SUBJECTS_PER_FOLD)]
        self.difficulty = {
            name: float(d) for name, d in zip(names, rng.normal(0, 0.1, len(names)), strict=True)
        }
        self.draws = {name: rng.random(PAIRS_PER_SUBJECT) for name in names}

    def truth(self, config: TrialConfig) -> float:
        """Return the planted accuracy of a configuration, from 0.5 to 0.95."""
        point = {path: get_path(config, path) for path in MIXED}
        return 0.5 + 0.45 * max(0.0, mixed(point))

    def outcomes(
        self, number: int, config: TrialConfig, epochs: Mapping[str, int]
    ) -> dict[str, float]:
        """Return the outcome of each subject after so many epochs of each fold begun."""
        rng = np.random.default_rng([self.seed, number])
        speed = rng.uniform(1.5, 5.0)
        own = {name: rng.random(PAIRS_PER_SUBJECT) for name in self.draws}
        told = {}
        for (fold, subject), difficulty in self.difficulty.items():
            if fold not in epochs:
                continue
            level = self.truth(config) - difficulty
            level = 0.5 + (level - 0.5) * (1 - math.exp(-epochs[fold] / speed))
            # Half of a pair's luck is the pair's, half the trial's.
            luck = (self.draws[fold, subject] + own[fold, subject]) / 2
            told[subject] = float((_even(luck) < level).mean())
        return told

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        rounds = (
            [
                {**dict.fromkeys(FOLDS[:f], NUM_EPOCHS), FOLDS[f]: e}
                for f in range(NUM_FOLDS)
                for e in range(1, NUM_EPOCHS + 1)
            ]
            if self.by_fold
            else [dict.fromkeys(FOLDS, e) for e in range(1, NUM_EPOCHS + 1)]
        )
        for place, epochs in enumerate(rounds):
            self.num_trained += 1 if self.by_fold else NUM_FOLDS
            by_group = self.outcomes(number, config, epochs)
            value = statistics.fmean(by_group.values())
            record = epoch_record(place, value, finished=place == len(rounds) - 1)
            yield replace(
                record,
                score=replace(record.score, by_group=by_group),
                folds=tuple(replace(record.folds[0], fold=fold) for fold in epochs),
                ended_folds=tuple(fold for fold, e in epochs.items() if e == NUM_EPOCHS),
            )
        return trial_end(number, value)


def _even(luck: np.ndarray) -> np.ndarray:
    """Return the mean of two even draws as an even one."""
    return np.where(luck < 0.5, 2 * luck**2, 1 - 2 * (1 - luck) ** 2)


RULES = {
    "halving and folds": ({"rule": "halving"}, True),
    "halving over epochs": ({"rule": "halving", "folds": {"alpha": 0.0}}, False),
    "folds": ({"rule": "none"}, True),
}


def curves_space(seed: int, pruner: Mapping[str, Any]) -> SearchSpace:
    """Return the space of the simulated trainings; its trials are the same whatever is stopped."""
    return space_from_mapping(
        {
            "name": "curves",
            "base": {
                # A poor default: it is never stopped, so that a good one would hide what is lost.
                "model": {"embed_dim": 64, "num_heads": 1, "drop_rate": 0.6},
                "optimizer": {"lr": 3e-5},
                "preprocessing": {"fwhm_mm": 9.0},
                "training": {"num_epochs": NUM_EPOCHS},
            },
            "parameters": MIXED,
            "study": {"sampler": "random", "seed": seed, "pruner": pruner, "rerun": {"top": 0}},
        }
    )


def whole_run(seed: int) -> tuple[float, int]:
    """Return what ``run`` does where nothing is stopped; only last epochs are drawn."""
    curves, space = Curves(seed=seed, by_fold=False), curves_space(seed, {"rule": "none"})
    last = dict.fromkeys(FOLDS, NUM_EPOCHS)
    best = (-math.inf, -math.inf)
    with tempfile.TemporaryDirectory() as name:
        journal = TrialJournal(Path(name) / "journal", space)
        for _ in range(NUM_STOPPED_TRIALS):
            proposal = journal.ask()
            config = space.config(proposal.point)
            score = statistics.fmean(curves.outcomes(proposal.number, config, last).values())
            # The first of equals is selected.
            if score > best[0]:
                best = (score, curves.truth(config))
            journal.tell(proposal.number, "complete", values=(score,))
    return best[1], NUM_STOPPED_TRIALS * NUM_FOLDS * NUM_EPOCHS


def run(rule: str, seed: int) -> tuple[float, int]:
    """Return the true score of the selected trial, and the epochs of folds that were trained."""
    pruner, by_fold = RULES[rule]
    curves = Curves(seed=seed, by_fold=by_fold)
    with tempfile.TemporaryDirectory() as name:
        driver = drive(
            Path(name) / "s",
            num_trials=NUM_STOPPED_TRIALS,
            tracker=ListTracker(),
            space=curves_space(seed, pruner),
            objective=curves,
        )
    complete = [line for line in driver.lines.values() if line["state"] == "complete"]
    best = max(complete, key=lambda line: line["value"])
    return curves.truth(TrialConfig.model_validate(best["config"])), curves.num_trained


def stopping(num_seeds: int) -> Iterator[dict[str, Any]]:
    full = [whole_run(seed) for seed in range(num_seeds)]
    for rule in RULES:
        found = [run(rule, seed) for seed in range(num_seeds)]
        share = statistics.median(f[1] / whole[1] for f, whole in zip(found, full, strict=True))
        loss = statistics.median(1 - f[0] / whole[0] for f, whole in zip(found, full, strict=True))
        yield told(
            "search_quality",
            f"{rule}: share of epochs trained; selected trial {100 * loss:.2f} % lower",
            ours=round(share, 3),
            peer=1.0,
            ratio=round(share, 3),
            goal=f"<= {GOAL_SHARE:g} with <= {100 * GOAL_LOSS:g} % lost",
            met=bool(share <= GOAL_SHARE and loss <= GOAL_LOSS),
        )


def page(rows: list[dict[str, Any]], num_seeds: int) -> str:
    """Return the table as Markdown."""
    head = "| case | ours | beside | goal | met |\n|---|---|---|---|---|\n"
    lines = [
        f"| {r['case']} | {r['ours']} | {r['peer']} | {r['goal']} | {YES[r['met']]} |"
        for r in rows
    ]
    intro = (
        f"# Search quality\n\n`python -m tests.benchmarks.search_quality --write`, medians over "
        f"{num_seeds} seeds, {rows[0]['date']}.\n\nRegret is the distance of the selected trial's "
        "true value from the optimum; lower is better.\n\n"
    )
    return intro + head + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS)
    parser.add_argument("--part", choices=["sampling", "stopping", "both"], default="both")
    arguments = parser.parse_args()
    parts = [p for p in (sampling, stopping) if arguments.part in (p.__name__, "both")]
    rows = []
    for row in (row for part in parts for row in part(arguments.seeds)):
        rows.append(row)
        tell(row, f"{row['case']}: {row['ours']} beside {row['peer']}", as_json=arguments.json)
    if arguments.write:
        PAGE.write_text(page(rows, arguments.seeds), encoding="utf-8")


if __name__ == "__main__":
    main()
