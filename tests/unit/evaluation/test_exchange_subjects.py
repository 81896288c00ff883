"""Targets whose class is one of subjects: whole subjects of a data set exchange their classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import kstest

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
from tests.unit.data.fake_shards import key, table_of, unit

CLASSES = ("control", "patient")
SIZES = {"a": 7, "b": 4, "c": 5}


def subjects_of_one_class(
    rng: np.random.Generator, *, num_runs: int = 3, sizes: dict[str, int] | None = None
) -> list[Unit]:
    """Return runs of subjects whose classes were dealt by a coin within each data set."""
    units = []
    for dataset, size in (sizes or SIZES).items():
        classes = rng.permutation(np.arange(size) % 2)
        for subject, class_index in enumerate(classes.tolist()):
            for run in range(num_runs):
                name = key(dataset, f"{subject:02}", "rest", f"{run}")
                units.append(unit(name, class_index, run_index=len(units)))
    return units


def marked(rng: np.random.Generator, units: Sequence[Unit], *, skill: float = 0.0) -> np.ndarray:
    """Return a value a unit that follows its subject, and its class as far as there is skill."""
    mark = {group: rng.normal() for group in sorted({made.group for made in units})}
    noise = 0.3 * rng.normal(size=len(units))
    return noise + [mark[made.group] + skill * made.class_index for made in units]


def answered(units: Sequence[Unit], values: np.ndarray, fold: str = "all") -> list[Prediction]:
    shares = 1 / (1 + np.exp(-(values - values.mean())))
    return [
        made.predicted([1 - share, share], classes=CLASSES, fold=fold or made.group)
        for made, share in zip(units, shares, strict=True)
    ]


def outcome(predictions: Sequence[Prediction], *, seed: int = 0) -> PermutationResult:
    return permute_labels(
        predictions, classes=CLASSES, paired=False, num_permutations=99, seed=seed
    )


def test_subjects_keep_their_runs_together_and_data_sets_their_classes(
    rng: np.random.Generator,
) -> None:
    units = subjects_of_one_class(rng)
    exchange = exchange_of_table(table_of(units))
    assert exchange.moves_subjects
    assert exchange.num_arrangements == 35 * 6 * 10
    datasets = [made.key.dataset for made in units]
    before = Counter(zip(datasets, exchange.observed.tolist(), strict=True))
    for _ in range(20):
        drawn = exchange.draw(rng)
        of_subject = defaultdict(set)
        for made, class_index in zip(units, drawn.tolist(), strict=True):
            of_subject[made.group].add(class_index)
        assert {len(classes) for classes in of_subject.values()} == {1}
        assert Counter(zip(datasets, drawn.tolist(), strict=True)) == before


def test_a_subject_with_other_runs_stays_as_it_is(rng: np.random.Generator) -> None:
    units = subjects_of_one_class(rng, sizes={"a": 6})[1:]
    exchange = exchange_of_table(table_of(units))
    lone = [made.key.subject == "00" for made in units]
    for _ in range(20):
        np.testing.assert_array_equal(exchange.draw(rng)[lone], exchange.observed[lone])


def test_a_subject_with_two_classes_leaves_the_others_out_of_the_test() -> None:
    """Who differs between subjects alone is no evidence beside one who changes."""
    alone = [unit(key("a", s, run=run), int(s) % 2) for s in "1234" for run in "12"]
    mixed = [unit(key("a", "5", run=run), int(run) - 1) for run in "12"]
    exchange = exchange_of_table(table_of([*alone, *mixed]))
    assert not exchange.moves_subjects
    assert exchange.num_arrangements == 2
    for classes in exchange.iter_others():
        np.testing.assert_array_equal(classes[:8], exchange.observed[:8])


def test_p_of_a_fixed_model_on_subjects_without_a_difference_is_uniform(
    rng: np.random.Generator,
) -> None:
    results = []
    for seed in range(300):
        units = subjects_of_one_class(rng)
        results.append(outcome(answered(units, marked(rng, units)), seed=seed))
    assert kstest([result.p_randomised for result in results], "uniform").pvalue > 0.01
    assert np.mean([result.p <= 0.05 for result in results]) < 0.09


def nearest_mean(units: Sequence[Unit], values: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return the score of telling each subject by the nearest class mean of all others' runs."""
    _, first, subject_of = np.unique(
        [made.group for made in units], return_index=True, return_inverse=True
    )
    sums, counts = np.bincount(subject_of, values), np.bincount(subject_of)

    def score_of(labels: np.ndarray) -> float:
        classes = labels[first]
        is_own = classes[:, None] == (0, 1)
        others = np.bincount(labels, values) - is_own * sums[:, None]
        means = others / (np.bincount(labels) - is_own * counts[:, None])
        nearest = np.abs((sums / counts)[:, None] - means).argmin(axis=1)
        return float(np.mean(nearest == classes))

    return score_of


def test_p_of_a_repeated_fit_on_subjects_without_a_difference_is_uniform(
    rng: np.random.Generator,
) -> None:
    """The mark of a subject is in all its runs, and is learnt by whoever trains on them."""
    results = []
    for seed in range(200):
        units = subjects_of_one_class(rng)
        table = table_of(units)
        results.append(
            permute_sequentially(
                nearest_mean(units, marked(rng, units)),
                exchange_of_table(table),
                num_permutations=79,
                enough=None,
                seed=seed,
            )
        )
    assert kstest([result.p_randomised for result in results], "uniform").pvalue > 0.01
    assert np.mean([result.p <= 0.05 for result in results]) < 0.1


def test_a_difference_between_subjects_is_found(rng: np.random.Generator) -> None:
    units = subjects_of_one_class(rng)
    result = outcome(answered(units, marked(rng, units, skill=8.0)))
    assert result.p == 1 / 100
    assert "whole subjects of a data set with the same runs" in result.test


def test_the_name_of_the_data_set_is_no_evidence(rng: np.random.Generator) -> None:
    """Most of one data set are patients, most of another controls, and the model sees which."""
    units = []
    for dataset, frequent in (("a", 0), ("b", 1)):
        for subject in range(8):
            class_index = frequent if subject else 1 - frequent
            units.append(unit(key(dataset, f"{subject}"), class_index, run_index=len(units)))
    values = np.array([4.0 * (made.key.dataset == "b") for made in units])
    result = outcome(answered(units, values))
    assert result.observed > 0.8
    assert result.p == 1.0


def test_subjects_of_folds_of_their_own_are_refused_for_a_fixed_model(
    rng: np.random.Generator,
) -> None:
    units = subjects_of_one_class(rng)
    with pytest.raises(DataError, match="in one fold, with the same runs; the whole fit repeated"):
        outcome(answered(units, marked(rng, units), fold=""))


def test_a_relabelled_table_has_the_classes_of_the_arrangement(rng: np.random.Generator) -> None:
    table = table_of(subjects_of_one_class(rng))
    drawn = exchange_of_table(table).draw(rng)
    told = relabel_table(table, drawn)
    assert [made.class_index for made in told.units] == drawn.tolist()
