from __future__ import annotations

import json
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from spectrum.config import FoldsConfig, SequencesConfig
from spectrum.data.folds import draw_folds
from spectrum.data.sequences import build_table
from spectrum.data.units import Fold, SequenceTable
from spectrum.evaluation.audit import FloorRecord, fit_fold_floor, measure_floor
from spectrum.evaluation.floor import FittedModel
from spectrum.evaluation.predictors import Predictors, acquisition_predictors
from spectrum.targets import Target
from tests.unit.data.fake_shards import FakeShards
from tests.unit.evaluation.planted import DATASETS, PAIRED, SEEN, event_shards, paired_shards

LODO = "leave-one-dataset-out"
LOSO = "leave-one-subject-out"
LORO = "leave-one-run-out"


def cut(
    shards: FakeShards, target: Target, scheme: str, monitor_fraction: float | None = None
) -> tuple[SequenceTable, tuple[Fold, ...]]:
    table = build_table(shards.runs, target, SequencesConfig(num_volumes=4, stride=4))
    config = FoldsConfig.model_validate({"scheme": scheme})
    folds = draw_folds(table, config, paired=target.paired, monitor_fraction=monitor_fraction)
    return table, folds


@cache
def paired_record(leak: float) -> FloorRecord:
    """Return the floor of pairs across data sets; measured once, since nobody changes it."""
    return floor_of(paired_shards(leak=leak), PAIRED, LODO)


@cache
def event_record(leak: float, scheme: str) -> FloorRecord:
    """Return the floor of events; measured once."""
    return floor_of(event_shards(leak=leak), SEEN, scheme)


def floor_of(shards: FakeShards, target: Target, scheme: str) -> FloorRecord:
    table, folds = cut(shards, target, scheme)
    return measure_floor(shards, table, folds, target=target, scheme=scheme)


def test_a_leak_planted_in_the_air_is_found_by_the_floor_across_data_sets() -> None:
    record = paired_record(5.0)
    assert record.floor.value > 0.9
    assert record.acquisition["bg_mean"].value > 0.9
    assert record.acquisition["tsnr"].value < 0.8
    assert record.is_above_chance
    assert "must beat" in record.verdict


def test_a_leak_far_smaller_than_the_spread_of_subjects_is_found_within_pairs() -> None:
    shards = paired_shards(leak=5.0)
    table, _ = cut(shards, PAIRED, LODO)
    air = acquisition_predictors(shards, table).only("bg_mean").values[:, 0]
    late = np.array([unit.class_index == 1 for unit in table.units])
    spread = abs(air[late].mean() - air[~late].mean()) / air.std()
    assert spread < 0.1
    assert paired_record(5.0).floor.value > 0.9


def test_without_a_leak_the_floor_is_at_chance_within_its_interval() -> None:
    records = [floor_of(paired_shards(leak=0.0, seed=seed), PAIRED, LODO) for seed in range(8)]
    holding = [record.floor.ci95[0] <= 0.5 <= record.floor.ci95[1] for record in records]
    assert sum(holding) >= 6
    assert abs(np.mean([record.floor.value for record in records]) - 0.5) < 0.12


@pytest.mark.parametrize("scheme", [LOSO, LORO])
def test_a_leak_in_the_air_during_events_is_found_by_the_floor(scheme: str) -> None:
    found = event_record(3.0, scheme)
    nothing = event_record(0.0, scheme)
    assert found.floor.value > 0.9
    assert found.acquisition["event_bg_mean"].value > 0.9
    assert found.floor.p <= 1 / 2**5, "the smallest that five subjects allow"
    assert nothing.floor.ci95[0] <= 1 / 3
    assert not nothing.is_above_chance


def test_the_response_to_an_event_is_scored_beside_the_floor_and_is_no_part_of_it() -> None:
    record = floor_of(event_shards(leak=0.0, response=5.0), SEEN, LOSO)
    assert record.response["event_fg_mean"].value > 0.9
    assert not record.is_above_chance
    assert not {"event_fg_mean", "event_dvars"} & set(record.predictors)
    assert set(record.to_json()["response"]) == {"event_fg_mean", "event_dvars"}


def test_what_defines_the_target_is_named_and_is_never_its_floor() -> None:
    record = paired_record(0.0)
    assert record.design["run"].score == 1.0
    assert record.design["run"].defines_target
    assert "run" not in record.predictors
    assert "run defines the target" in record.verdict
    assert "dataset+task+run" not in record.verdict


def test_a_design_number_that_is_right_on_all_scored_units_alone_does_not_define_the_target() -> (
    None
):
    """Folds leave units out; of one subject here the runs have their classes the other way."""
    shards = paired_shards(leak=0.0)
    table, folds = cut(shards, PAIRED, LODO)
    first = table.units[0].group
    rows = {row for row, unit in enumerate(table.units) if unit.group == first}
    units = [
        replace(unit, class_index=1 - unit.class_index) if row in rows else unit
        for row, unit in enumerate(table.units)
    ]
    without = [
        replace(
            fold,
            training=tuple(row for row in fold.training if row not in rows),
            validation=tuple(row for row in fold.validation if row not in rows),
        )
        for fold in folds
    ]
    record = measure_floor(
        shards, replace(table, units=tuple(units)), without, target=PAIRED, scheme=LODO
    )
    assert record.design["run"].score == 1.0
    assert not record.design["run"].defines_target
    assert "the target, and no score" not in record.verdict


def test_the_data_set_is_constant_within_pairs_and_scores_a_half() -> None:
    record = paired_record(5.0)
    for name in ("dataset", "task", "session"):
        assert record.design[name].score == 0.5
        assert not record.design[name].defines_target
    assert record.majority.value == 0.5


def test_the_majority_of_a_target_of_events_scores_chance() -> None:
    record = event_record(0.0, LOSO)
    assert record.majority.value == pytest.approx(1 / 3)
    assert record.chance == pytest.approx(1 / 3)
    assert set(record.design) >= {"dataset", "task", "run", "session", "onset_s"}
    assert not any(design.defines_target for design in record.design.values())


def test_numbers_that_no_fold_can_use_are_named() -> None:
    record = paired_record(0.0)
    assert "3 of 3 folds" in record.left_out["voxel_x_mm"]
    assert "3 of 3 folds" in record.left_out["num_slices"]
    assert set(record.predictors) == {"bg_mean", "fd_mean", "tsnr"}


def test_the_table_of_counts_holds_every_unit() -> None:
    record = paired_record(0.0)
    assert sum(row["num_units"] for row in record.counts) == 2 * sum(DATASETS.values())
    assert {
        "dataset": "a",
        "task": "learn",
        "session": "",
        "run": "01",
        "class": "early",
        "num_units": 7,
    } in record.counts


def test_the_record_is_json_with_the_keys_that_scripts_rely_on() -> None:
    record = paired_record(5.0)
    told = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert set(told) >= {
        "target",
        "scheme",
        "chance",
        "majority",
        "dataset",
        "design",
        "acquisition",
        "predictors",
        "floor",
        "verdict",
    }
    assert told["floor"]["score"] == told["floor"]["value"] == record.floor.value
    assert len(told["floor"]["ci95"]) == 2
    assert told["design"]["run"]["defines_target"] is True
    assert set(told["acquisition"]["bg_mean"]) >= {"score", "ci95"}


def test_two_audits_of_the_same_data_are_equal() -> None:
    shards = paired_shards(leak=1.0)
    assert floor_of(shards, PAIRED, LODO).to_json() == floor_of(shards, PAIRED, LODO).to_json()


def state_of(model: FittedModel) -> list[bytes]:
    return [np.asarray(getattr(model, field.name)).tobytes() for field in fields(model)]


@pytest.mark.parametrize(
    ("target", "scheme"), [(PAIRED, LODO), (PAIRED, LOSO), (SEEN, LOSO), (SEEN, LORO)]
)
def test_perturbing_a_held_out_unit_leaves_the_fitted_state_bit_identical(
    target: Target, scheme: str
) -> None:
    shards = paired_shards(leak=1.0) if target is PAIRED else event_shards(leak=1.0)
    table, folds = cut(shards, target, scheme)
    predictors = acquisition_predictors(shards, table)
    rng = np.random.default_rng(9)
    fold = folds[1]
    before = fit_fold_floor(predictors, table, fold, paired=target.paired, scheme=scheme)
    changed = predictors.values.copy()
    held_out = list(fold.validation)
    changed[held_out] = rng.normal(1e4, 1e5, changed[held_out].shape)
    changed[held_out[0]] = np.nan
    perturbed = Predictors(names=predictors.names, values=changed)
    after = fit_fold_floor(perturbed, table, fold, paired=target.paired, scheme=scheme)
    assert state_of(before) == state_of(after)
    assert not np.array_equal(
        before.probabilities(predictors.values[held_out]),
        before.probabilities(changed[held_out]),
    )


def test_perturbing_a_training_unit_does_change_the_fitted_state() -> None:
    shards = paired_shards(leak=1.0)
    table, folds = cut(shards, PAIRED, LODO)
    predictors = acquisition_predictors(shards, table)
    changed = predictors.values.copy()
    changed[folds[0].training[0]] += 1.0
    states = [
        state_of(
            fit_fold_floor(
                Predictors(names=predictors.names, values=values),
                table,
                folds[0],
                paired=True,
                scheme=LODO,
            )
        )
        for values in (predictors.values, changed)
    ]
    assert states[0] != states[1]


def test_monitor_units_train_the_floor() -> None:
    shards = paired_shards(leak=1.0)
    table, plain = cut(shards, PAIRED, LODO)
    _, watched = cut(shards, PAIRED, LODO, monitor_fraction=0.3)
    assert watched[0].monitor
    records = [
        measure_floor(shards, table, folds, target=PAIRED, scheme=LODO)
        for folds in (plain, watched)
    ]
    assert records[0].to_json() == records[1].to_json()


def test_a_model_of_one_class_pair_masks_the_others() -> None:
    shards = event_shards(leak=3.0)
    table, folds = cut(shards, SEEN, LOSO)
    two = tuple(
        replace(
            fold,
            classes=(0, 2),
            training=tuple(i for i in fold.training if table.units[i].class_index != 1),
            validation=tuple(i for i in fold.validation if table.units[i].class_index != 1),
        )
        for fold in folds
    )
    record = measure_floor(shards, table, two, target=SEEN, scheme=LOSO)
    assert record.chance == 0.5
    assert record.majority.value == 0.5
    assert record.floor.value > 0.9
