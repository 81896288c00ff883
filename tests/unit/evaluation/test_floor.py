from __future__ import annotations

import numpy as np
import pytest

from spectrum.evaluation.floor import PENALTIES, TrainingUnits, fit_nested
from spectrum.evaluation.predictors import Predictors, centre_pairs, design_values, one_hot
from tests.unit.data.fake_shards import key, paired_units, table_of, unit


def units_of(*, count: int = 60, effect: float = 2.0, seed: int = 0) -> TrainingUnits:
    rng = np.random.default_rng(seed)
    class_index = np.arange(count) % 2 + 1
    values = rng.normal(size=(count, 3)) * [1.0, 100.0, 0.01]
    values[:, 0] += effect * class_index
    group = tuple(str(i // 6) for i in range(count))
    return TrainingUnits(values=values, class_index=class_index, group=group)


def test_probabilities_add_up_to_one_and_follow_the_effect() -> None:
    units = units_of()
    model = fit_nested(units, is_centred=False)
    probabilities = model.probabilities(units.values)
    assert model.classes == (1, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert np.mean(probabilities.argmax(axis=1) + 1 == units.class_index) > 0.75


def test_the_scale_of_a_number_does_not_matter() -> None:
    units = units_of()
    scaled = TrainingUnits(
        values=units.values * [7.0, 0.001, 50.0] + [3.0, -8.0, 1.0],
        class_index=units.class_index,
        group=units.group,
    )
    one, other = (fit_nested(u, is_centred=False) for u in (units, scaled))
    assert one.probabilities(units.values) == pytest.approx(
        other.probabilities(scaled.values), abs=1e-3
    )


def test_noise_is_penalised_and_an_effect_is_not() -> None:
    noise = fit_nested(units_of(effect=0.0), is_centred=False)
    effect = fit_nested(units_of(effect=6.0), is_centred=False)
    assert noise.penalty < effect.penalty
    assert {noise.penalty, effect.penalty} <= set(PENALTIES)


def test_unknown_and_constant_columns_are_left_out_and_gaps_get_the_median() -> None:
    units = units_of()
    values = np.column_stack([np.full(60, np.nan), units.values, np.full(60, 0.1)])
    values[:5, 1] = np.nan
    gappy = TrainingUnits(values=values, class_index=units.class_index, group=units.group)
    model = fit_nested(gappy, is_centred=False)
    assert model.columns.tolist() == [1, 2, 3]
    median = np.nanmedian(values[:, 1])
    unknown, filled = values[:1].copy(), values[:1].copy()
    filled[0, 1] = median
    assert model.probabilities(unknown) == pytest.approx(model.probabilities(filled))


def test_without_a_usable_column_every_class_is_as_likely() -> None:
    units = units_of()
    blank = TrainingUnits(
        values=np.full((60, 2), np.nan), class_index=units.class_index, group=units.group
    )
    model = fit_nested(blank, is_centred=False)
    assert model.probabilities(np.zeros((4, 2))) == pytest.approx(0.5)


def test_a_class_of_few_units_weighs_as_much_as_a_large_one() -> None:
    units = units_of(count=80, effect=0.0)
    uneven = units.take(np.concatenate([np.arange(1, 80, 2), np.arange(0, 12, 2)]))
    model = fit_nested(uneven, is_centred=False, penalties=(0.001,))
    assert model.probabilities(uneven.values).mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.05)


def test_one_group_takes_the_strongest_penalty() -> None:
    units = units_of()
    alone = TrainingUnits(values=units.values, class_index=units.class_index, group=("one",) * 60)
    assert fit_nested(alone, is_centred=False).penalty == min(PENALTIES)


def test_numbers_of_a_pair_are_centred_and_a_gap_is_a_gap_for_both() -> None:
    units = paired_units({"a": ["1", "2"]})
    values = np.array([[1.0, 5.0], [3.0, np.nan], [10.0, 2.0], [10.0, 8.0]])
    centred = centre_pairs(Predictors(names=("x", "y"), values=values), units).values
    expected = np.array([[-1.0, np.nan], [1.0, np.nan], [0.0, -3.0], [0.0, 3.0]])
    assert np.array_equal(centred, expected, equal_nan=True)


def test_a_centred_model_treats_the_two_units_of_a_pair_as_mirror_images() -> None:
    rng = np.random.default_rng(3)
    half = rng.normal([1.0, 0.0], size=(20, 2))
    values = np.stack([-half, half], axis=1).reshape(40, 2)
    units = TrainingUnits(
        values=values,
        class_index=np.tile([0, 1], 20),
        group=tuple(str(i // 2) for i in range(40)),
    )
    model = fit_nested(units, is_centred=True)
    probabilities = model.probabilities(values)
    assert probabilities[::2, 1] == pytest.approx(probabilities[1::2, 0])
    assert model.probabilities(np.zeros((1, 2))) == pytest.approx(0.5)


def test_runs_compare_by_number_in_the_design() -> None:
    table = table_of([unit(key(run="1"), 0), unit(key(run="01", subject="02"), 1)])
    assert design_values(table)["run"] == ("1", "1")


def test_each_value_of_a_design_predictor_has_its_column() -> None:
    columns = one_hot("task", ["b", "a", "b"])
    assert columns.names == ("task=a", "task=b")
    assert columns.values.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
