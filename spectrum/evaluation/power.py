"""How small an effect a design can show, by simulating a decoder of known accuracy on its units.

The simulated decoder is right in each unit, or pair, with the same chance, independently, and its
answers go through the very test that a score goes through, and through the comparison with a floor
that guesses. A real decoder is right in some subjects more than in others, so that its power is
lower; what is said here is the best case. Not here: the score and its test (``scores``), and the
comparison (``statistics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from spectrum.data.units import Fold, SequenceTable, Unit
from spectrum.evaluation.statistics import ALPHA, compare_by_group
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions

__all__ = ["Power", "measure_power"]

WANTED_POWER: Final = 0.8
"""Power that is usual to ask for (Cohen 1988)."""

SHARES: Final = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Accuracies that are simulated, as shares of the way from chance to 1, until one suffices."""

RESAMPLES: Final = 199
"""Of the test, where it is one by permutation; p is then at least 0.005."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a design can show.

    ``smallest`` is the accuracy at which the test has a power of 0.8, interpolated, None where
    even a perfect decoder has less; ``smallest_above_floor`` that at which the decoder is, with as
    much power, also better than a floor that guesses, as a positive finding has to be; ``needed``
    the lowest score that any simulation found with p < 0.05, None where none was; ``curve`` and
    ``curve_above_floor`` hold (accuracy, power).
    """

    num_subjects: int
    num_units: int
    smallest: float | None
    smallest_above_floor: float | None
    needed: float | None
    curve: tuple[tuple[float, float], ...]
    curve_above_floor: tuple[tuple[float, float], ...]
    test: str


def measure_power(
    table: SequenceTable,
    folds: Sequence[Fold],
    *,
    paired: bool,
    num_simulations: int = 100,
    seed: int = 0,
) -> Power:
    """Simulate decoders of rising accuracy on the held-out units of some folds.

    Parameters
    ----------
    table : the units
    folds : those whose held-out sides are pooled
    paired : whether pairs are scored
    num_simulations : decoders of each accuracy; a power is known to 0.1 with 100
    seed : of their answers
    """
    rng = np.random.default_rng(seed)

    def draw(share: float) -> ScoreRecord:
        return score_predictions(
            _answers(table, folds, share, paired=paired, rng=rng),
            classes=table.classes,
            paired=paired,
            num_resamples=RESAMPLES,
            seed=int(rng.integers(2**31)),
        )

    floors = [draw(0.0) for _ in range(num_simulations)]
    curve, above, significant = [], [], []
    for share in SHARES:
        scores = [draw(share) for _ in range(num_simulations)]
        found = [score.p < ALPHA for score in scores]
        beats = [_is_above(*both) for both in zip(scores, floors, strict=True)]
        significant += [
            score.value for score, is_found in zip(scores, found, strict=True) if is_found
        ]
        accuracy = scores[0].chance + share * (1 - scores[0].chance)
        curve.append((accuracy, float(np.mean(found))))
        above.append((accuracy, float(np.mean(np.logical_and(found, beats)))))
        if above[-1][1] >= WANTED_POWER:
            break
    return Power(
        num_subjects=scores[0].num_groups,
        num_units=scores[0].num_units,
        smallest=_crossing(curve),
        smallest_above_floor=_crossing(above),
        needed=min(significant, default=None),
        curve=tuple(curve),
        curve_above_floor=tuple(above),
        test=scores[0].test,
    )


def _is_above(ours: ScoreRecord, floor: ScoreRecord) -> bool:
    return compare_by_group(ours.by_group, floor.by_group, num_resamples=RESAMPLES).is_superior


def _answers(
    table: SequenceTable,
    folds: Sequence[Fold],
    share: float,
    *,
    paired: bool,
    rng: np.random.Generator,
) -> list[Prediction]:
    """Return predictions that are right with the probability chance + share (1 - chance)."""
    right_of_pair: dict[str, bool] = {}
    predictions = []
    for fold in folds:
        for index in fold.validation:
            unit = table.units[index]
            if paired:
                right = right_of_pair.setdefault(unit.pair, bool(rng.random() < (1 + share) / 2))
                answer = unit.class_index if right else 1 - unit.class_index
            else:
                answer = _answer(unit, fold, share, rng)
            probabilities = np.zeros(len(table.classes))
            probabilities[answer] = 1.0
            predictions.append(
                unit.predicted(probabilities.tolist(), classes=table.classes, fold=fold.name)
            )
    return predictions


def _answer(unit: Unit, fold: Fold, share: float, rng: np.random.Generator) -> int:
    """Return the true class with a probability of ``share``, otherwise guess evenly."""
    if rng.random() < share:
        return unit.class_index
    return int(fold.classes[rng.integers(len(fold.classes))])


def _crossing(curve: Sequence[tuple[float, float]]) -> float | None:
    """Return where the power reaches what is wanted, on straight lines between its points."""
    above = next((i for i, (_, power) in enumerate(curve) if power >= WANTED_POWER), None)
    if above is None:
        return None
    if above == 0:
        return curve[0][0]
    (x0, y0), (x1, y1) = curve[above - 1], curve[above]
    return x0 + (WANTED_POWER - y0) / (y1 - y0) * (x1 - x0)
