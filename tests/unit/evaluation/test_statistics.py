from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from spectrum.errors import DataError
from spectrum.evaluation.statistics import (
    Comparison,
    compare_predictions,
    correct_for_looks,
    judge_finding,
)
from spectrum.scores import score_predictions
from tests.unit.evaluation.answers import CLASSES, THREE, drifting_pairs, guesses, pairs


@pytest.mark.parametrize("paired", [False, True])
def test_a_difference_is_that_of_the_scores_and_a_better_model_is_found_better(
    rng: np.random.Generator, paired: bool
) -> None:
    classes = CLASSES if paired else THREE
    strong, weak = (
        pairs(rng, 24, gap=gap) if paired else guesses(rng, 12, 6, skill=gap / 6)
        for gap in (4.0, 0.0)
    )
    told = compare_predictions(strong, weak[::-1], classes=classes, paired=paired)
    values = [score_predictions(p, classes=classes, paired=paired).value for p in (strong, weak)]
    assert told.difference == pytest.approx(values[0] - values[1])
    assert told.ci95[0] < told.difference < told.ci95[1]
    assert told.is_superior
    back = compare_predictions(weak, strong, classes=classes, paired=paired)
    assert back.difference == pytest.approx(-told.difference)
    assert back.p > 0.5


def test_two_equal_models_are_called_different_no_more_often_than_promised(
    rng: np.random.Generator,
) -> None:
    p = [
        compare_predictions(
            guesses(rng, 10, 6, skill=0.3),
            guesses(rng, 10, 6, skill=0.3),
            classes=THREE,
            paired=False,
            num_resamples=200,
        ).p
        for _ in range(200)
    ]
    assert binomtest(sum(value < 0.05 for value in p), 200, 0.05, "greater").pvalue > 0.01


def test_models_of_different_units_are_not_compared(rng: np.random.Generator) -> None:
    ours = guesses(rng, 3, 3)
    with pytest.raises(DataError, match="9 and 8 units that are not the same"):
        compare_predictions(ours, ours[1:], classes=THREE, paired=False)


def test_looks_are_paid_for() -> None:
    assert correct_for_looks(0.01, 4) == pytest.approx(0.04)
    assert correct_for_looks(0.3, 40) == 1.0
    assert correct_for_looks(0.02, 0) == 0.02


@pytest.mark.parametrize(
    ("p", "floor_p", "looks", "dissociation", "is_positive"),
    [
        (0.01, 0.01, 1, None, True),
        (0.01, 0.01, 1, True, True),
        (0.01, 0.01, 1, False, False),
        (0.01, 0.2, 1, None, False),
        (0.2, 0.01, 1, None, False),
        (0.01, 0.001, 10, None, False),
        (0.001, 0.01, 10, None, False),
        (0.001, 0.001, 10, None, True),
    ],
)
def test_a_positive_finding_meets_every_condition(
    p: float, floor_p: float, looks: int, dissociation: bool | None, is_positive: bool
) -> None:
    above = Comparison(difference=0.1, ci95=(0.0, 0.2), p=floor_p, num_groups=9, test="")
    finding = judge_finding(p, above, num_looks=looks, agrees_with_dissociation=dissociation)
    assert finding.is_positive is is_positive
    assert any(reason.startswith("fails") for reason in finding.reasons) is not is_positive


def test_300_subjects_with_unequal_numbers_of_pairs_are_compared(
    rng: np.random.Generator,
) -> None:
    """The common denominator of their differences is no float."""
    strong, weak = (
        [p for i in range(300) for p in drifting_pairs(rng, 1, 1 + i % 97, gap=gap, first=i)]
        for gap in (1.0, 0.0)
    )
    told = compare_predictions(strong, weak, classes=CLASSES, paired=True, num_resamples=500)
    assert told.test.startswith("Monte Carlo")
    assert told.p == pytest.approx(1 / 501)
    back = compare_predictions(weak, strong, classes=CLASSES, paired=True, num_resamples=500)
    assert back.p > 0.99
