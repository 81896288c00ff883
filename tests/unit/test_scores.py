from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from spectrum.errors import ConfigError, DataError
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions
from spectrum.scores.resampling import sign_flip_p

PAIR = ("early", "late")
THREE = ("acquisition", "consolidation", "reversal")


def prediction(unit: str, true_class: str, probabilities: Any, **further: Any) -> Prediction:
    values = {
        "dataset": "ds000002",
        "subject": "01",
        "session": "",
        "task": "learn",
        "run": "01",
        "pair": "",
        "fold": "fold-1",
    }
    return Prediction(
        unit=unit, true_class=true_class, probabilities=probabilities, **{**values, **further}
    )


def pair(
    subject: str, task: str, p_early: float, p_late: float, dataset: str = "ds000002"
) -> list[Prediction]:
    further = {"subject": subject, "task": task, "dataset": dataset}
    further["pair"] = f"{dataset}/{subject}/{task}"
    return [
        prediction(f"{further['pair']}/{name}", name, (1 - p, p), run=run, **further)
        for name, p, run in (("early", p_early, "01"), ("late", p_late, "02"))
    ]


def pairs_of(outcomes: Mapping[str, Sequence[float]]) -> list[Prediction]:
    """Return pairs from points: subject -> list of 0, 0.5 or 1."""
    return [
        p
        for subject, points in outcomes.items()
        for number, point in enumerate(points)
        for p in pair(subject, f"task{number}", 0.5, 0.5 + 0.2 * (2 * point - 1))
    ]


def paired_score(predictions: list[Prediction], **further: Any) -> ScoreRecord:
    return score_predictions(predictions, classes=PAIR, paired=True, **further)


def unit_score(
    predictions: list[Prediction], classes: tuple[str, ...] = THREE, **further: Any
) -> ScoreRecord:
    return score_predictions(predictions, classes=classes, paired=False, **further)


def one_hot(index: int, count: int = 3) -> tuple[float, ...]:
    return tuple(0.8 if k == index else 0.2 / (count - 1) for k in range(count))


def test_pairs_are_averaged_within_subjects_and_subjects_weigh_the_same() -> None:
    record = paired_score(pairs_of({"01": [1, 1, 1, 0], "02": [0], "03": [0.5]}))
    assert record.value == pytest.approx((0.75 + 0 + 0.5) / 3)
    assert record.by_group == {
        "ds000002/sub-01": 0.75,
        "ds000002/sub-02": 0.0,
        "ds000002/sub-03": 0.5,
    }
    assert (record.num_units, record.num_groups, record.chance) == (6, 3, 0.5)


def test_only_the_order_within_the_pair_counts() -> None:
    predictions = pair("01", "a", 0.90, 0.91) + pair("02", "a", 0.01, 0.02)
    assert paired_score(predictions).value == 1.0


def test_a_difference_of_rounding_is_a_tie() -> None:
    assert paired_score(pair("01", "a", 0.1 + 0.2, 0.3)).value == 0.5


def test_a_pair_without_partner_is_left_out_and_named() -> None:
    predictions = pairs_of({"01": [1], "02": [0]})
    record = paired_score(predictions[:-1])
    assert record.value == 1.0
    assert record.details["incomplete_pairs"] == ["ds000002/02/task0"]


def test_predictions_without_a_complete_pair_are_refused() -> None:
    with pytest.raises(DataError, match="None of 1 pairs"):
        paired_score(pairs_of({"01": [1]})[:1])


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.integers(0, 8).map(str),
        st.lists(st.sampled_from([0, 0.5, 1]), min_size=1, max_size=4),
        min_size=2,
        max_size=7,
    )
)
def test_the_sign_flip_p_is_the_share_of_all_sign_patterns(
    outcomes: Mapping[str, Sequence[float]],
) -> None:
    record = paired_score(pairs_of(outcomes), num_resamples=10)
    differences = np.array([np.mean(points) - 0.5 for points in outcomes.values()])
    sums = [np.dot(signs, differences) for signs in product((-1, 1), repeat=differences.size)]
    reached = np.mean(np.array(sums) >= differences.sum() - 1e-9)
    assert record.p == pytest.approx(reached)
    assert record.test.startswith("exact sign flip")


@pytest.mark.parametrize("right", [26, 32, 33, 52])
def test_with_one_pair_a_subject_the_sign_flip_is_the_binomial(right: int) -> None:
    outcomes = {str(s): [int(s < right)] for s in range(52)}
    record = paired_score(pairs_of(outcomes))
    assert record.p == pytest.approx(binom.sf(right - 1, 52, 0.5))
    assert (record.p < 0.05) == (right >= 33)


def test_the_sign_flip_falls_back_to_sampling_where_counting_is_too_large() -> None:
    rng = np.random.default_rng(0)
    outcomes = {str(n): rng.integers(0, 2, n).tolist() for n in range(2, 30)}
    record = paired_score(pairs_of(outcomes), num_resamples=400)
    assert record.test.startswith("Monte Carlo")
    assert record.p * 401 == pytest.approx(round(record.p * 401))
    assert paired_score(pairs_of(outcomes), num_resamples=400) == record


@pytest.mark.parametrize("share", [0.5, 0.6])
def test_300_subjects_with_unequal_numbers_of_pairs_are_tested(share: float) -> None:
    """The common denominator of their scores is no float."""
    rng = np.random.default_rng(3)
    outcomes = {str(n): (rng.random(n) < share).astype(int).tolist() for n in range(1, 301)}
    record = paired_score(pairs_of(outcomes), num_resamples=999)
    gaps = np.array([np.mean(points) - 0.5 for points in outcomes.values()])
    normal = norm.sf(gaps.sum() / np.sqrt((gaps**2).sum()))
    assert record.test.startswith("Monte Carlo")
    assert record.p == pytest.approx(max(normal, 0.001), abs=0.05)


@pytest.mark.parametrize("sign", [1, -1])
def test_sampled_sums_that_differ_by_rounding_alone_are_ties(sign: int) -> None:
    differences = [sign * Fraction(1, prime) for prime in (9973, 9967, 9949, 9941)]
    p, is_exact = sign_flip_p(differences, num_resamples=4000, seed=0)
    assert not is_exact
    assert p == pytest.approx(1 / 16 if sign > 0 else 1.0, abs=0.02)


def test_one_subject_is_resampled_and_tested_over_pairs() -> None:
    record = paired_score(pairs_of({"01": [1, 1, 1, 1, 0]}))
    assert record.p == pytest.approx(binomtest(4, 5, alternative="greater").pvalue)
    assert "pairs of one subject" in record.test
    assert record.details["resampled"] == "pairs"
    assert record.ci95[0] < 0.8 <= record.ci95[1]


def test_the_interval_is_over_subjects_however_many_folds_and_pairs_there_are() -> None:
    few = paired_score(pairs_of({str(s): [s % 2] for s in range(20)}))
    many = paired_score(pairs_of({str(s): [s % 2] * 30 for s in range(20)}))
    assert few.ci95 == pytest.approx(many.ci95)
    spread = 0.5 / np.sqrt(20)
    assert few.ci95[1] - few.ci95[0] == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_an_interval_of_no_width_is_said_to_be_no_certainty() -> None:
    record = paired_score(pairs_of({"01": [1], "02": [1]}))
    assert record.ci95 == (1.0, 1.0)
    assert "not certainty" in record.details["note"]


def test_one_unit_says_nothing_about_the_interval() -> None:
    record = paired_score(pairs_of({"01": [1]}))
    assert record.ci95 == (0.0, 1.0)


def test_the_paired_interval_covers_the_truth_and_the_null_is_rejected_at_its_level() -> None:
    rng = np.random.default_rng(11)
    covered, rejected, draws = 0, 0, 300
    for _ in range(draws):
        outcomes = {str(s): rng.integers(0, 2, 2).tolist() for s in range(24)}
        record = paired_score(pairs_of(outcomes), num_resamples=300)
        covered += record.ci95[0] <= 0.5 <= record.ci95[1]
        rejected += record.p <= 0.05
    assert covered / draws > 0.88
    assert rejected / draws <= 0.08


def units_of(
    truths: Sequence[int],
    answers: Sequence[int],
    *,
    num_subjects: int = 1,
    fold: str | None = None,
    classes: tuple[str, ...] = THREE,
) -> list[Prediction]:
    return [
        prediction(
            f"unit-{number}",
            classes[truth],
            one_hot(answer, len(classes)),
            subject=str(number % num_subjects),
            run=str(number % 4),
            fold=fold or "fold-1",
        )
        for number, (truth, answer) in enumerate(zip(truths, answers, strict=True))
    ]


def test_balanced_accuracy_is_the_mean_recall_over_classes() -> None:
    record = unit_score(units_of([0] * 8 + [1] * 2 + [2], [0] * 8 + [0, 1] + [1], num_subjects=2))
    assert record.value == pytest.approx((1 + 0.5 + 0) / 3)
    assert record.chance == pytest.approx(1 / 3)
    assert record.details["recall"] == {
        "acquisition": 1.0,
        "consolidation": 0.5,
        "reversal": 0.0,
    }


def test_a_constant_predictor_scores_chance() -> None:
    record = unit_score(units_of([0] * 9 + [1] * 3 + [2] * 2, [0] * 14, num_subjects=2))
    assert record.value == pytest.approx(record.chance)


def test_a_class_that_no_unit_has_does_not_count() -> None:
    record = unit_score(units_of([0, 0, 1, 1], [0, 0, 1, 0], num_subjects=2))
    assert record.value == pytest.approx(0.75)
    assert record.chance == pytest.approx(0.5)


def test_a_unit_is_judged_among_the_classes_of_its_fold() -> None:
    two = units_of([0, 1], [2, 1], num_subjects=2, fold="two")
    three = [
        prediction(f"other-{k}", THREE[k], one_hot(k), subject=f"9{k % 2}", fold="three")
        for k in range(3)
    ]
    masked = [prediction("unit-0", THREE[0], (0.2, 0.1, 0.7), subject="0", fold="two"), two[1]]
    assert unit_score(masked + three).value == 1.0
    expected = np.mean([(1 / 2 + 1 / 3) / 2, (1 / 2 + 1 / 3) / 2, 1 / 3])
    assert unit_score(masked + three).chance == pytest.approx(expected)


def test_chance_with_unequal_folds_is_what_even_guessing_reaches() -> None:
    rng = np.random.default_rng(4)
    truths = {"two": [0, 0, 1, 1, 1, 1], "three": [0, 1, 2, 2, 2]}
    values = []
    for _ in range(800):
        predictions = []
        for fold, some in truths.items():
            answers = rng.integers(0, len(set(some)), len(some))
            for number, (truth, answer) in enumerate(zip(some, answers, strict=True)):
                predictions.append(
                    prediction(f"{fold}{number}", THREE[truth], one_hot(answer), fold=fold)
                )
        record = unit_score(predictions, num_resamples=1)
        values.append(record.value)
    assert np.mean(values) == pytest.approx(record.chance, abs=0.02)


def test_one_subject_with_balanced_classes_is_tested_by_the_exact_binomial() -> None:
    classes = tuple("abcdefgh")
    rng = np.random.default_rng(0)
    truths = np.repeat(np.arange(8), 8)
    answers = np.where(rng.random(64) < 0.3, truths, rng.integers(0, 8, 64))
    record = unit_score(units_of(truths, answers, classes=classes), classes=classes)
    right = int((truths == answers).sum())
    assert record.p == pytest.approx(binomtest(right, 64, 1 / 8, alternative="greater").pvalue)
    assert "taken as independent" in record.test
    assert record.value == pytest.approx(right / 64)
    assert record.details["resampled"] == "runs"


def test_several_subjects_are_tested_by_permutation_within_subject() -> None:
    truths = [0, 1, 2] * 12
    record = unit_score(units_of(truths, truths, num_subjects=4), num_resamples=500)
    assert record.p == pytest.approx(1 / 501)
    assert "permutations" in record.test
    assert "fixed" in record.test


def test_what_a_subject_gives_away_about_its_class_is_no_evidence() -> None:
    predictions = [
        prediction(f"u{n}", THREE[n % 3], one_hot(n % 3), subject=str(n % 3), fold="fold-1")
        for n in range(30)
    ]
    record = unit_score(predictions, num_resamples=200)
    assert record.value == 1.0
    assert record.p == 1.0


def test_the_permutation_test_holds_its_level_and_the_interval_covers_chance() -> None:
    rng = np.random.default_rng(5)
    draws, rejected, covered = 200, 0, 0
    for _ in range(draws):
        truths = rng.permutation(np.repeat([0, 1, 2], 20))
        answers = rng.integers(0, 3, truths.size)
        record = unit_score(units_of(truths, answers, num_subjects=12), num_resamples=199)
        rejected += record.p <= 0.05
        covered += record.ci95[0] <= record.chance <= record.ci95[1]
    assert rejected / draws <= 0.09
    assert covered / draws > 0.87


@pytest.mark.parametrize("paired", [True, False])
def test_the_score_does_not_depend_on_the_order_of_predictions(paired: bool) -> None:
    rng = np.random.default_rng(2)
    if paired:
        predictions = pairs_of({str(s): rng.integers(0, 2, 2).tolist() for s in range(9)})
    else:
        predictions = units_of(rng.integers(0, 2, 30), rng.integers(0, 2, 30), num_subjects=5)
        predictions = [p for p in predictions if p.true_class != THREE[2]]
    classes = PAIR if paired else THREE
    one = score_predictions(predictions, classes=classes, paired=paired)
    other = score_predictions(predictions[::-1], classes=classes, paired=paired)
    assert one.value == pytest.approx(other.value)
    assert one.ci95 == pytest.approx(other.ci95)
    assert one.p == pytest.approx(other.p, abs=0.05)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([], "no prediction"),
        (pair("01", "a", float("nan"), 0.5), "finite"),
        (pair("01", "a", 0.1, 0.5) * 2, "more than once"),
        ([prediction("u", "mastery", (0.5, 0.5))], "mastery"),
        ([prediction("u", "late", (0.5, 0.3, 0.2))], "3 probabilities"),
    ],
)
def test_predictions_that_would_make_a_wrong_score_are_refused(
    predictions: list[Prediction], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        paired_score(predictions)


def test_a_paired_score_of_three_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected two"):
        score_predictions(units_of([0], [0]), classes=THREE, paired=True)


def test_a_record_is_json_as_it_stands() -> None:
    record = unit_score(units_of([0, 1, 2, 0], [0, 1, 1, 0], num_subjects=2))
    assert json.loads(json.dumps(record.to_json(), allow_nan=False))["num_units"] == 4
