from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from spectrum.data.units import Unit
from spectrum.errors import DataError
from spectrum.evaluation.exchange import exchange_of_table
from spectrum.evaluation.permutation import (
    PermutationResult,
    permute_labels,
    permute_sequentially,
    relabel_table,
)
from spectrum.records import Prediction
from spectrum.scores import score_predictions
from tests.unit.data.fake_shards import key, paired_units, table_of, unit
from tests.unit.evaluation.answers import (
    CLASSES,
    THREE,
    drifting_pairs,
    drifting_values,
    guesses,
    pairs,
    slow_answers,
    slow_values,
    units_of_blocks,
    units_of_many_pairs,
)

Draw = Callable[[np.random.Generator], Sequence[Prediction]]


def assert_holds_its_level(results: Sequence[PermutationResult]) -> None:
    """A p is never too small: by the counts at three levels, and as a whole (KS, one-sided)."""
    p = np.array([result.p for result in results])
    for level in (0.05, 0.1, 0.2):
        rejected = int((p <= level + 1e-9).sum())
        assert binomtest(rejected, p.size, level, "greater").pvalue > 0.01
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01


def assert_uniform(results: Sequence[PermutationResult]) -> None:
    assert kstest([result.p_randomised for result in results], "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("draw", "classes"),
    [
        (lambda rng: guesses(rng, 6, 9), THREE),
        (lambda rng: pairs(rng, 15), CLASSES),
        (lambda rng: drifting_pairs(rng, 6, 4, drift=3.0), CLASSES),
        (lambda rng: drifting_pairs(rng, 15, 4, drift=3.0), CLASSES),
        (lambda rng: slow_answers(rng, 5, 6), THREE),
    ],
    ids=["runs", "pairs", "few drifting subjects", "drifting subjects", "blocks of events"],
)
def test_p_of_a_fixed_model_on_null_data_is_uniform(
    draw: Draw, classes: tuple[str, ...], rng: np.random.Generator
) -> None:
    """Also where units depend on each other: pairs of a subject, neighbouring events."""
    results = [
        permute_labels(
            draw(rng), classes=classes, paired=classes == CLASSES, num_permutations=99, seed=seed
        )
        for seed in range(200)
    ]
    assert_uniform(results)
    assert_holds_its_level(results)


def refitted(values: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> float:
    """Return how well differences of means, fitted on the others, tell one's classes apart.

    A subject's point is the mean, over its units, of their projections on the difference between
    their class mean and the mean of all class means, both of the other subjects' units.
    """
    num_subjects, num_classes = subjects.max() + 1, labels.max() + 1
    sums = np.zeros((num_subjects, num_classes, values.shape[1]))
    np.add.at(sums, (subjects, labels), values)
    counts = np.zeros((num_subjects, num_classes))
    np.add.at(counts, (subjects, labels), 1.0)
    means = (sums.sum(0) - sums) / (counts.sum(0) - counts)[..., None]
    away = means - means.mean(axis=1, keepdims=True)
    return float(np.mean((sums * away).sum(axis=(1, 2)) / counts.sum(axis=1)))


def refit_results(
    draw: Callable[[np.random.Generator], tuple[list[Unit], np.ndarray]],
    rng: np.random.Generator,
    *,
    num_sets: int,
    enough: int | None = 10,
    num_permutations: int = 99,
) -> list[PermutationResult]:
    results = []
    for seed in range(num_sets):
        units, values = draw(rng)
        names = [made.key.subject for made in units]
        subjects = np.unique(names, return_inverse=True)[1]

        def score_of(
            labels: np.ndarray, values: np.ndarray = values, subjects: np.ndarray = subjects
        ) -> float:
            return refitted(values, labels, subjects)

        results.append(
            permute_sequentially(
                score_of,
                exchange_of_table(table_of(units)),
                num_permutations=num_permutations,
                enough=enough,
                seed=seed,
            )
        )
    return results


def drawn_pairs(
    rng: np.random.Generator, *, num_subjects: int = 10, gap: float = 0.0
) -> tuple[list[Unit], np.ndarray]:
    units = units_of_many_pairs(num_subjects, 4)
    return units, drifting_values(rng, units, drift=3.0, gap=gap, width=3)


def drawn_blocks(rng: np.random.Generator, *, skill: float = 0.0) -> tuple[list[Unit], np.ndarray]:
    units = units_of_blocks(rng, 4, 5)
    values = slow_values(rng, len(units), 4)
    values[np.arange(len(units)), [made.class_index for made in units]] += skill
    return units, values


@pytest.mark.parametrize("draw", [drawn_pairs, drawn_blocks])
def test_p_of_a_fit_repeated_on_units_that_depend_on_each_other_holds_its_level(
    draw: Callable[[np.random.Generator], tuple[list[Unit], np.ndarray]],
    rng: np.random.Generator,
) -> None:
    assert_holds_its_level(refit_results(draw, rng, num_sets=150))


def test_a_planted_effect_is_found_among_units_that_depend_on_each_other(
    rng: np.random.Generator,
) -> None:
    of_pairs = refit_results(lambda rng: drawn_pairs(rng, gap=5.0), rng, num_sets=20)
    of_blocks = refit_results(lambda rng: drawn_blocks(rng, skill=1.5), rng, num_sets=20)
    for results in (of_pairs, of_blocks):
        assert np.mean([result.p < 0.05 for result in results]) >= 0.8


@pytest.mark.parametrize("enough", [None, 10])
def test_p_of_a_model_fitted_again_for_every_permutation_is_uniform_on_null_data(
    rng: np.random.Generator, enough: int | None
) -> None:
    """Stopping early leaves p uniform on its own, coarser, steps."""

    def draw(rng: np.random.Generator) -> tuple[list[Unit], np.ndarray]:
        units = paired_units({"a": [f"{i}" for i in range(7)]})
        subjects = np.repeat(np.arange(7), 2)
        return units, rng.normal(size=(14, 3)) + rng.normal(size=(7, 3))[subjects]

    results = refit_results(draw, rng, num_sets=120, enough=enough)
    assert_holds_its_level(results)
    if enough is None:
        assert_uniform(results)
    else:
        assert any(result.stopped_early for result in results)
        assert sum(len(result.null) for result in results) < 0.6 * 99 * len(results)


def test_p_of_a_fixed_model_is_that_of_the_score_where_all_swaps_are_counted(
    rng: np.random.Generator,
) -> None:
    for _ in range(10):
        predictions = drifting_pairs(rng, 7, 3, drift=2.0)
        score = score_predictions(predictions, classes=CLASSES, paired=True)
        result = permute_labels(predictions, classes=CLASSES, paired=True)
        assert result.is_exact
        assert result.num_arrangements == 2**7
        assert result.p == pytest.approx(score.p)


@pytest.mark.parametrize(("num_subjects", "smallest"), [(3, 1 / 8), (4, 1 / 16)])
def test_few_subjects_bound_p_by_name_however_strong_the_effect(
    rng: np.random.Generator, num_subjects: int, smallest: float
) -> None:
    predictions = drifting_pairs(rng, num_subjects, 9, gap=50.0)
    result = permute_labels(predictions, classes=CLASSES, paired=True, num_permutations=999)
    assert result.p == result.smallest_p == smallest
    assert len(result.null) == 2**num_subjects - 1
    assert f"{num_subjects} subjects; p is {smallest:.2g} at best, as there is too" in result.test


def test_too_few_permutations_are_told_apart_from_too_few_subjects(
    rng: np.random.Generator,
) -> None:
    predictions = drifting_pairs(rng, 12, 2)
    for count, said in ((9, "takes more permutations to be below 0.05"), (99, "0.01 at best")):
        found = permute_labels(predictions, classes=CLASSES, paired=True, num_permutations=count)
        assert found.test.endswith(said)


def test_a_repeated_fit_knows_no_difference_between_no_swap_and_all(
    rng: np.random.Generator,
) -> None:
    (result,) = refit_results(
        lambda rng: drawn_pairs(rng, num_subjects=5, gap=50.0), rng, num_sets=1, enough=None
    )
    assert result.num_arrangements == 32
    assert result.is_exact
    assert result.p == result.smallest_p == 2 / 32


def test_no_arrangement_is_taken_twice_where_all_are(rng: np.random.Generator) -> None:
    units = units_of_blocks(rng, 2, 3, length=2)
    exchange = exchange_of_table(table_of(units))
    others = [tuple(classes.tolist()) for classes in exchange.iter_others()]
    assert len(set(others)) == len(others) == exchange.num_arrangements - 1
    assert tuple(exchange.observed.tolist()) not in others
    for _ in range(20):
        drawn = tuple(exchange.draw(rng).tolist())
        assert drawn in {*others, tuple(exchange.observed.tolist())}


def test_a_permutation_test_finds_what_is_there(rng: np.random.Generator) -> None:
    skilled = permute_labels(
        guesses(rng, 8, 9, skill=0.5), classes=THREE, paired=False, num_permutations=199
    )
    assert skilled.p == skilled.smallest_p == 1 / 200
    assert skilled.observed > max(skilled.null)
    for predictions, classes in (
        (pairs(rng, 20, gap=4.0), CLASSES),
        (drifting_pairs(rng, 20, 4, drift=1.0, gap=4.0), CLASSES),
        (slow_answers(rng, 6, 6, skill=3.0), THREE),
    ):
        found = permute_labels(
            predictions, classes=classes, paired=classes == CLASSES, num_permutations=199
        )
        assert found.p == 1 / 200


def test_the_observed_score_of_a_permutation_test_is_the_score(rng: np.random.Generator) -> None:
    for predictions, classes, paired in (
        (guesses(rng, 5, 7, skill=0.3), THREE, False),
        (slow_answers(rng, 3, 4, skill=0.3), THREE, False),
        (pairs(rng, 9, gap=1.0), CLASSES, True),
        (drifting_pairs(rng, 5, 3, drift=1.0), CLASSES, True),
    ):
        score = score_predictions(predictions, classes=classes, paired=paired)
        result = permute_labels(predictions, classes=classes, paired=paired, num_permutations=3)
        assert result.observed == pytest.approx(score.value)


def test_all_pairs_of_a_subject_are_swapped_or_none(rng: np.random.Generator) -> None:
    units = units_of_many_pairs(3, 4)
    exchange = exchange_of_table(table_of(units))
    for _ in range(20):
        swapped = exchange.draw(rng) != exchange.observed
        for subject in range(3):
            assert len(set(swapped[8 * subject : 8 * subject + 8].tolist())) == 1


def test_pairs_of_a_single_subject_are_swapped_one_by_one_and_said_to_be(
    rng: np.random.Generator,
) -> None:
    result = permute_labels(drifting_pairs(rng, 1, 6), classes=CLASSES, paired=True)
    assert result.num_arrangements == 2**6
    assert "pairs of one subject are swapped, 6 taken as independent" in result.test


def test_runs_of_a_subject_exchange_their_sequences_of_events_whole(
    rng: np.random.Generator,
) -> None:
    units = units_of_blocks(rng, 2, 4)
    exchange = exchange_of_table(table_of(units))
    sequences = exchange.observed.reshape(2, 4, 12)
    for _ in range(10):
        moved = exchange.draw(rng).reshape(2, 4, 12)
        for before, after in zip(sequences.tolist(), moved.tolist(), strict=True):
            assert sorted(before) == sorted(after)


def test_runs_of_tasks_of_the_same_classes_are_exchanged_alike(rng: np.random.Generator) -> None:
    units = [
        unit(key("a", s, task, run), int(run) % 2)
        for s in ("1", "2")
        for task in ("x", "y")
        for run in ("1", "2")
    ]
    exchange = exchange_of_table(table_of(units))
    assert exchange.num_arrangements == 4
    moved = exchange.draw(rng).reshape(2, 2, 2)
    np.testing.assert_array_equal(moved[:, 0], moved[:, 1])


def test_classes_of_whole_tasks_are_exchanged_within_subjects() -> None:
    units = [unit(key("a", s, task), i) for s in ("1", "2") for i, task in enumerate("xy")]
    assert exchange_of_table(table_of(units)).num_arrangements == 4


def test_events_of_runs_that_cannot_be_exchanged_are_refused_by_name() -> None:
    alike = [
        unit(key(run=run), index % 2, event_index=index) for run in "12" for index in range(6)
    ]
    unequal = [
        unit(key(run=run), i % 2, event_index=i) for run in "12" for i in range(int(run) * 2)
    ]
    for units in (alike, unequal):
        with pytest.raises(DataError, match="a task, with as many events and different") as end:
            exchange_of_table(table_of(units))
        assert end.value.code == "no-permutation"


def test_runs_of_folds_of_their_own_cannot_be_exchanged_for_a_fixed_model(
    rng: np.random.Generator,
) -> None:
    predictions = [replace(p, fold=p.run) for p in slow_answers(rng, 1, 4)]
    with pytest.raises(DataError, match="several runs of a task in one fold"):
        permute_labels(predictions, classes=THREE, paired=False)


def test_a_table_is_relabelled_and_otherwise_the_same() -> None:
    table = table_of(paired_units({"a": ["1", "2"]}))
    told = relabel_table(table, np.array([1, 0, 0, 1]))
    assert [made.class_index for made in told.units] == [1, 0, 0, 1]
    assert [made.name for made in told.units] == [made.name for made in table.units]
    assert told.units[2:] == table.units[2:]
