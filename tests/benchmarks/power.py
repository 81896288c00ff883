"""How often is a decoder of known accuracy called a positive finding, by number of subjects?

    python -m tests.benchmarks.power --json > tests/benchmarks/power.jsonl
    python -m tests.benchmarks.power --table tests/benchmarks/power.jsonl

No image is simulated, only answers: subjects of four data sets as ``spectrum simulate`` plans them
(pairs of runs 2, 2, 2 and 1), a decoder whose margin in each pair is normal, and a floor that
guesses. Half of the margin's variance is the subject's own, and the accuracies of decoder and
floor differ from seed to seed as they did in ``findings``, but at 0.5, where the decoder guesses
in every seed. ``ours`` is the share that is positive
(p < 0.05, and above the floor at p < 0.05: the tests of ``evaluation``), ``peer`` that of p < 0.05
alone, ``by_margin`` what it would be if both tests were of signed ranks of the margins in place of
right and wrong.

The cases ``reversal`` are of one pair a subject, as the dissociation has them: ``ours`` is the
signed-rank test that it uses, ``peer`` the sign test of its points.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from spectrum.evaluation.dissociation import Contrast, judge_dissociation
from spectrum.evaluation.dissociation_tasks import TASKS
from spectrum.evaluation.statistics import ALPHA
from spectrum.scores.resampling import sign_flip_p

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.telling import measured_here, tell

Floats = NDArray[np.float64]

NUM_PAIRS: Final = (2, 2, 2, 1)
"""Of a subject of each data set."""

SUBJECTS: Final = (4, 8, 10, 13, 20, 30)
GUESSING: Final = 0.5
ACCURACIES: Final = (GUESSING, 0.65, 0.7, 0.75, 0.8, 0.85)
OWN_SHARE: Final = 0.5
SD_OF_DECODER, SD_OF_FLOOR = 0.03, 0.08
"""From seed to seed, beyond what so few pairs scatter anyway."""

WANTED: Final = 0.8


def margins(
    pairs: Sequence[int], accuracy: float, spread: float, rng: np.random.Generator
) -> list[Floats]:
    """Return the margin of each pair of each subject, positive where it is right."""
    level = norm.ppf(np.clip(accuracy + spread * rng.normal(), 0.01, 0.99))
    own, rest = np.sqrt(OWN_SHARE), np.sqrt(1 - OWN_SHARE)
    return [level + own * rng.normal() + rest * rng.normal(size=count) for count in pairs]


def one(num_subjects: int, accuracy: float, rng: np.random.Generator) -> tuple[bool, ...]:
    """Return whether p < 0.05 alone, positive, and positive by margin."""
    pairs = [count for count in NUM_PAIRS for _ in range(num_subjects)]
    ours = margins(pairs, accuracy, SD_OF_DECODER if accuracy > GUESSING else 0.0, rng)
    floor = margins(pairs, GUESSING, SD_OF_FLOOR, rng)
    points = [[Fraction(int((m > 0).sum()), m.size) for m in told] for told in (ours, floor)]
    alone = _p([point - Fraction(1, 2) for point in points[0]]) < ALPHA
    above = _p([a - b for a, b in zip(*points, strict=True)]) < ALPHA
    mine, theirs = (np.array([m.mean() for m in told]) for told in (ours, floor))
    by_margin = [_p(_ranks(told)) < ALPHA for told in (mine, mine - theirs)]
    return alone, alone and above, all(by_margin)


def _ranks(gaps: Floats) -> list[Fraction]:
    return [Fraction(rank) for rank in (np.sign(gaps) * rankdata(np.abs(gaps))).tolist()]


def _p(differences: Sequence[Fraction]) -> float:
    return sign_flip_p(differences, num_resamples=999, seed=0)[0]


def findings(num_simulations: int) -> Iterator[dict[str, Any]]:
    for num_subjects, accuracy in product(SUBJECTS, ACCURACIES):
        rng = np.random.default_rng([num_subjects, round(100 * accuracy)])
        told = [one(num_subjects, accuracy, rng) for _ in range(num_simulations)]
        alone, positive, by_margin = np.mean(told, axis=0).tolist()
        pairs = num_subjects * sum(NUM_PAIRS)
        yield _row(
            f"finding: {4 * num_subjects} subjects, {pairs} pairs, accuracy {accuracy:g}",
            positive,
            alone,
            accuracy,
            num_simulations,
            num_subjects=4 * num_subjects,
            by_margin=by_margin,
        )


def reversals(num_simulations: int) -> Iterator[dict[str, Any]]:
    for num_subjects, accuracy in product((8, 13, 20), ACCURACIES):
        rng = np.random.default_rng([1, num_subjects, round(100 * accuracy)])
        told = [_reversal(num_subjects, accuracy, rng) for _ in range(num_simulations)]
        ranks, points = np.mean(told, axis=0).tolist()
        yield _row(
            f"reversal: {num_subjects} subjects, right in {accuracy:g}",
            ranks,
            points,
            accuracy,
            num_simulations,
            num_subjects=num_subjects,
        )


def _reversal(num_subjects: int, accuracy: float, rng: np.random.Generator) -> tuple[bool, bool]:
    gaps = rng.normal(norm.ppf(accuracy), 1.0, size=num_subjects)
    contrasts = [Contrast(group=f"{i}", gap=float(gap)) for i, gap in enumerate(gaps)]
    told = judge_dissociation(
        "reversal", TASKS["reversal"].expectation, contrasts, num_resamples=1
    )
    points = _p([Fraction(int(gap > 0)) - Fraction(1, 2) for gap in gaps])
    return told.found == "above", points < ALPHA


def _row(
    case: str, ours: float, peer: float, accuracy: float, num_simulations: int, **further: Any
) -> dict[str, Any]:
    """Hold a null to its level, with its sampling error; an effect has no goal, being a table."""
    is_null = accuracy == GUESSING
    most = ALPHA + 2.6 * np.sqrt(ALPHA * (1 - ALPHA) / num_simulations)
    return {
        "benchmark": "power",
        "case": case,
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": round(ours / peer, 3) if peer else None,
        "goal": f"at most {most:.3f}" if is_null else None,
        "met": bool(ours <= most) if is_null else None,
        "accuracy": accuracy,
        "simulations": num_simulations,
        **{k: round(v, 3) if isinstance(v, float) else v for k, v in further.items()},
        **measured_here(),
    }


def table(lines: Sequence[str]) -> str:
    """Return the findings as a table in Markdown: subjects down, accuracies across."""
    told = [json.loads(line) for line in lines]
    text = []
    for kind, names in (
        ("finding", "positive (p < 0.05 alone; both by margin)"),
        ("reversal", "signed ranks (points)"),
    ):
        rows = [row for row in told if row["case"].startswith(kind)]
        text += [f"{kind}: {names}", "", "| subjects | " + " | ".join(map(str, ACCURACIES)) + " |"]
        text.append("| --- " * (1 + len(ACCURACIES)) + "|")
        for count in sorted({row["num_subjects"] for row in rows}):
            cells = [_cell(row) for row in rows if row["num_subjects"] == count]
            text.append(f"| {count} | {' | '.join(cells)} |")
        text.append("")
    return "\n".join(text)


def _cell(row: dict[str, Any]) -> str:
    by_margin = f"; {row['by_margin']:.2f}" if "by_margin" in row else ""
    mark = "**" if row["ours"] >= WANTED else ""
    return f"{mark}{row['ours']:.2f}{mark} ({row['peer']:.2f}{by_margin})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--simulations", type=int, default=400, help="of each case")
    parser.add_argument("--table", type=Path, help="print this file of rows as a table")
    arguments = parser.parse_args()
    if arguments.table:
        sys.stdout.write(table(arguments.table.read_text("utf-8").splitlines()))
        return
    for rows in (findings, reversals):
        for row in rows(arguments.simulations):
            text = f"{row['case']}: {row['ours']:.0%} against {row['peer']:.0%}"
            tell(row, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
