from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from spectrum.errors import DataError
from spectrum.evaluation.permutation import (
    permute_labels,
    permute_sequentially,
    shuffled_table,
)
from spectrum.evaluation.statistics import (
    Comparison,
    compare_predictions,
    correct_for_looks,
    judge_finding,
)
from spectrum.records import Prediction
from spectrum.scores import score_predictions
from tests.unit.data.fake_shards import key, paired_units, table_of, unit

CLASSES = ("early", "late")
THREE = ("face", "house", "cat")


def guesses(
    rng: np.random.Generator, num_subjects: int, num_runs: int, *, skill: float = 0.0
) -> list[Prediction]:
    """Return answers of a model that is right with a probability of (1 + 2 skill) / 3."""
    predictions = []
    for subject in range(num_subjects):
        for run in range(num_runs):
            index = run % 3
            made = unit(key(dataset="a", subject=f"{subject}", run=f"{run}"), index)
            scores = rng.random(3)
            scores[index] += 9.0 * (rng.random() < skill)
            scores /= scores.sum()
            predictions.append(
                made.predicted(scores.tolist(), classes=THREE, fold=f"sub-{subject}")
            )
    return predictions


def pairs(rng: np.random.Generator, num_subjects: int, *, gap: float = 0.0) -> list[Prediction]:
    units = paired_units({"a": [f"{i:02}" for i in range(num_subjects)]})
    predictions = []
    for made in units:
        late = 1 / (1 + np.exp(-(rng.normal() + gap * (made.class_index - 0.5))))
        predictions.append(made.predicted([1 - late, late], classes=CLASSES, fold="a"))
    return predictions


def uniform_p(values: Sequence[float]) -> float:
    return float(kstest(values, "uniform").pvalue)


def test_p_of_a_fixed_model_on_null_data_is_uniform(rng: np.random.Generator) -> None:
    values = [
        permute_labels(
            guesses(rng, 6, 9), classes=THREE, paired=False, num_permutations=99, seed=seed
        ).p_randomised
        for seed in range(300)
    ]
    assert uniform_p(values) > 0.01


def test_p_of_a_fixed_model_on_null_pairs_is_uniform(rng: np.random.Generator) -> None:
    values = [
        permute_labels(
            pairs(rng, 15), classes=CLASSES, paired=True, num_permutations=99, seed=seed
        ).p_randomised
        for seed in range(300)
    ]
    assert uniform_p(values) > 0.01


def refitted(values: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> float:
    """Return how well a difference of means, fitted on the other subjects, orders one's units."""
    points = []
    for subject in np.unique(subjects):
        out = subjects == subject
        slope = values[~out][labels[~out] == 1].mean(0) - values[~out][labels[~out] == 0].mean(0)
        along = values[out] @ slope
        points.append(along[labels[out] == 1].mean() - along[labels[out] == 0].mean())
    return float(np.mean(points))


@pytest.mark.parametrize("enough", [None, 10])
def test_p_of_a_model_fitted_again_for_every_permutation_is_uniform_on_null_data(
    rng: np.random.Generator, enough: int | None
) -> None:
    """Stopping early leaves p uniform on its own, coarser, steps."""
    table = table_of(paired_units({"a": [f"{i}" for i in range(8)]}))
    subjects = np.array([int(u.key.subject) for u in table.units])
    found = []
    for seed in range(200):
        values = rng.normal(size=(16, 3)) + rng.normal(size=(8, 3))[subjects]

        def score_of(generator: np.random.Generator | None, values: np.ndarray = values) -> float:
            asked = table if generator is None else shuffled_table(table, generator)
            return refitted(values, np.array([u.class_index for u in asked.units]), subjects)

        found.append(permute_sequentially(score_of, num_permutations=99, enough=enough, seed=seed))
    p = np.array([result.p for result in found])
    if enough is None:
        assert uniform_p([result.p_randomised for result in found]) > 0.01
    else:
        assert any(result.stopped_early for result in found)
        assert sum(len(result.null) for result in found) < 0.6 * 99 * len(found)
    for level in (0.05, 0.1, 0.2):
        assert binomtest(int((p <= level).sum()), p.size, level).pvalue > 0.01


def test_a_permutation_test_finds_what_is_there(rng: np.random.Generator) -> None:
    skilled = permute_labels(
        guesses(rng, 8, 9, skill=0.5), classes=THREE, paired=False, num_permutations=199
    )
    assert skilled.p == 1 / 200
    assert skilled.observed > max(skilled.null)
    paired = permute_labels(
        pairs(rng, 20, gap=4.0), classes=CLASSES, paired=True, num_permutations=199
    )
    assert paired.p == 1 / 200


def test_the_observed_score_of_a_permutation_test_is_the_score(rng: np.random.Generator) -> None:
    for predictions, classes, paired in (
        (guesses(rng, 5, 7, skill=0.3), THREE, False),
        (pairs(rng, 9, gap=1.0), CLASSES, True),
    ):
        score = score_predictions(predictions, classes=classes, paired=paired)
        result = permute_labels(predictions, classes=classes, paired=paired, num_permutations=3)
        assert result.observed == pytest.approx(score.value)


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


def test_classes_move_within_pairs_runs_and_subjects_only(rng: np.random.Generator) -> None:
    events = [
        unit(key(run=run), index % 3, event_index=index)
        for run in ("1", "2")
        for index in range(7)
    ]
    runs = [unit(key(subject=s, run=f"{i}"), i % 2) for s in ("1", "2") for i in range(5)]
    for units in (paired_units({"a": ["1", "2", "3"]}), events, runs):
        table = table_of(units)
        moved = [shuffled_table(table, rng) for _ in range(5)]
        strata = [u.pair or (u.key if u.event_index is not None else u.group) for u in units]
        for other in moved:
            for stratum in set(strata):
                rows = [i for i, s in enumerate(strata) if s == stratum]
                assert sorted(other.units[i].class_index for i in rows) == sorted(
                    units[i].class_index for i in rows
                )
        assert any(other.units != table.units for other in moved)


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
        (0.01, 0.01, 10, None, False),
    ],
)
def test_a_positive_finding_meets_every_condition(
    p: float, floor_p: float, looks: int, dissociation: bool | None, is_positive: bool
) -> None:
    above = Comparison(difference=0.1, ci95=(0.0, 0.2), p=floor_p, num_groups=9, test="")
    finding = judge_finding(p, above, num_looks=looks, agrees_with_dissociation=dissociation)
    assert finding.is_positive is is_positive
    assert any(reason.startswith("fails") for reason in finding.reasons) is not is_positive
