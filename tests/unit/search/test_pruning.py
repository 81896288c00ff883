"""Rules of early stopping, as arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.search.optuna_study import TrialJournal
from spectrum.search.pruning import bracket_of, is_hopeless, is_rung, rules_of
from spectrum.search.settings import PrunerConfig
from tests.unit.search.fakes import small_space

scores = st.floats(0.0, 1.0)


def test_rungs_grow_by_the_reduction() -> None:
    config = PrunerConfig(min_epochs=2, reduction=3)
    assert [n for n in range(1, 60) if is_rung(n, config)] == [2, 6, 18, 54]


@given(st.lists(scores, min_size=3, max_size=40, unique=True), st.integers(2, 5))
def test_of_distinct_scores_the_best_share_goes_on(values: list[float], reduction: int) -> None:
    config = PrunerConfig(min_epochs=1, reduction=reduction, min_rivals=1)
    passing = [
        value
        for value in values
        if not is_hopeless(value, [v for v in values if v != value], num_epochs=1, config=config)
    ]
    assert sorted(passing, reverse=True) == sorted(values, reverse=True)[: len(passing)]
    assert len(passing) == max(1, len(values) // reduction)


@given(scores, st.lists(scores, max_size=20), st.integers(1, 30))
def test_the_best_trial_and_its_equals_are_never_stopped(
    value: float, rivals: list[float], num_epochs: int
) -> None:
    for rule in ("halving", "median", "none"):
        config = PrunerConfig(rule=rule, min_epochs=1, min_rivals=1)
        others = [min(value, rival) for rival in rivals]
        assert not is_hopeless(value, others, num_epochs=num_epochs, config=config)


@pytest.mark.parametrize("rule", ["halving", "median"])
def test_nothing_is_stopped_before_its_first_epochs_or_among_few_rivals(rule: str) -> None:
    config = PrunerConfig(rule=rule, min_epochs=4, min_rivals=3)
    assert not is_hopeless(0.1, [0.9] * 9, num_epochs=3, config=config)
    assert not is_hopeless(0.1, [0.9] * 2, num_epochs=4, config=config)
    assert is_hopeless(0.1, [0.9] * 3, num_epochs=4, config=config)


def test_the_median_rule_stops_the_worse_half_at_any_epoch() -> None:
    config = PrunerConfig(rule="median", min_epochs=2, min_rivals=3)
    assert is_hopeless(0.4, [0.3, 0.5, 0.7], num_epochs=5, config=config)
    assert not is_hopeless(0.5, [0.3, 0.5, 0.7], num_epochs=5, config=config)


def test_between_rungs_halving_stops_nothing() -> None:
    config = PrunerConfig(min_epochs=2, reduction=3, min_rivals=1)
    assert not is_hopeless(0.0, [1.0] * 8, num_epochs=5, config=config)
    assert is_hopeless(0.0, [1.0] * 8, num_epochs=6, config=config)


def test_hyperband_halves_within_brackets_that_begin_one_after_the_other() -> None:
    config = PrunerConfig(rule="hyperband", min_epochs=2, reduction=3, brackets=3)
    assert [bracket_of(number, config) for number in range(5)] == [0, 1, 2, 0, 1]
    first_rungs = [rules_of(number, config).min_epochs for number in range(3)]
    assert first_rungs == [2, 6, 18]
    assert all(rules_of(number, config).rule == "halving" for number in range(3))
    halving = PrunerConfig(rule="halving")
    assert rules_of(4, halving) == halving


def test_a_trial_of_hyperband_is_compared_with_its_own_bracket_alone(tmp_path: Path) -> None:
    pruner = {"rule": "hyperband", "min_epochs": 1, "reduction": 2, "brackets": 2, "min_rivals": 1}
    journal = TrialJournal(tmp_path / "journal", small_space(pruner=pruner))
    for number, value in enumerate([0.9, 0.1, 0.8, 0.05]):
        journal.ask()
        stops = journal.report(number, epoch=0, value=value)
        assert stops == (number == 2)
    assert journal.report(3, epoch=1, value=0.05) is False
    assert journal.report(1, epoch=1, value=0.01) is True
