from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import FoldsConfig
from spectrum.data.folds import (
    check_folds,
    draw_folds,
    fold_manifest,
    plan_folds,
    read_folds,
    write_folds,
)
from spectrum.data.units import SequenceTable, Unit
from spectrum.errors import ConfigError, DataError, LeakageError, TargetError
from tests.unit.data.fake_shards import key, paired_units, table_of, unit

LODO = FoldsConfig(scheme="leave-one-dataset-out")
LOSO = FoldsConfig(scheme="leave-one-subject-out")
LORO = FoldsConfig(scheme="leave-one-run-out")

SUBJECTS = {"ds000002": ["01", "02", "03"], "ds000011": ["01", "02"], "ds000017": ["1", "2"]}


def paired_table(subjects: Mapping[str, Sequence[str]] | None = None) -> SequenceTable:
    return table_of(paired_units(subjects or SUBJECTS))


def groups(table: SequenceTable, indices: Sequence[int]) -> set[str]:
    return {table.units[index].key.group for index in indices}


@given(
    st.sampled_from([LODO, LOSO, FoldsConfig(scheme="grouped-k-fold", num_folds=3)]),
    st.integers(1, 4),
    st.integers(2, 5),
    st.sampled_from([None, 0.2, 0.5]),
)
def test_no_subject_stands_on_two_sides_and_each_unit_is_held_out_once(
    config: FoldsConfig, first: int, second: int, monitor_fraction: float | None
) -> None:
    subjects = {"a": [str(i) for i in range(first)], "b": [str(i) for i in range(second)]}
    table = paired_table({**subjects, "c": ["1", "2"]})
    folds = draw_folds(table, config, paired=True, monitor_fraction=monitor_fraction)
    check_folds(folds, table, config)
    held_out = sorted(index for fold in folds for index in fold.validation)
    assert held_out == list(range(len(table.units)))
    for fold in folds:
        roles = [fold.training, fold.validation, fold.monitor]
        assert sorted(sum(roles, ())) == list(range(len(table.units)))
        assert bool(fold.monitor) == (monitor_fraction is not None)
        assert not groups(table, fold.training) & groups(table, fold.monitor)
        assert {table.units[i].class_index for i in fold.training} == set(fold.classes)


def test_leave_one_dataset_out_holds_out_whole_data_sets() -> None:
    table = paired_table()
    folds = draw_folds(table, LODO, paired=True)
    assert [fold.held_out for fold in folds] == sorted(SUBJECTS)
    for fold in folds:
        assert {table.units[i].key.dataset for i in fold.validation} == {fold.held_out}


def test_one_subject_number_in_two_data_sets_is_two_people() -> None:
    folds = draw_folds(paired_table(), LOSO, paired=True)
    assert [fold.held_out for fold in folds][:4] == [
        "ds000002/sub-01",
        "ds000002/sub-02",
        "ds000002/sub-03",
        "ds000011/sub-01",
    ]
    assert len(folds) == 7


def test_k_fold_balances_subjects_and_data_sets_and_follows_its_seed() -> None:
    table = paired_table({"a": [str(i) for i in range(6)], "b": [str(i) for i in range(5)]})
    draws = [
        draw_folds(
            table, FoldsConfig(scheme="grouped-k-fold", num_folds=3, seed=seed), paired=True
        )
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    sizes = [len(groups(table, fold.validation)) for fold in draws[0]]
    assert sorted(sizes) == [3, 4, 4]
    of_a = [
        len({g for g in groups(table, fold.validation) if g.startswith("a/")}) for fold in draws[0]
    ]
    assert of_a == [2, 2, 2]


def test_more_folds_than_subjects_are_refused() -> None:
    config = FoldsConfig(scheme="grouped-k-fold", num_folds=8)
    with pytest.raises(ConfigError, match=r"num_folds is 8 and there are 7 subjects"):
        draw_folds(paired_table(), config, paired=True)


def test_folds_do_not_depend_on_the_order_of_runs() -> None:
    units = paired_units(SUBJECTS)
    order = np.random.default_rng(3).permutation(len(units))
    config = FoldsConfig(scheme="grouped-k-fold", num_folds=3)
    hashes = set()
    for some in (units, [units[i] for i in order]):
        table = table_of(some)
        folds = draw_folds(table, config, paired=True, monitor_fraction=0.3)
        hashes.add(fold_manifest(folds, table, config)["content_hash"])
    assert len(hashes) == 1


def test_a_unit_without_its_partner_is_left_out_and_named() -> None:
    units = paired_units(SUBJECTS)
    alone = units.pop(1)
    units[0] = replace(units[0], pair="ds000002/sub-01/learn")
    plan = plan_folds(table_of(units), LODO, paired=True)
    assert all(0 not in (*fold.training, *fold.validation) for fold in plan.folds)
    assert any("ds000002/sub-01/learn" in note and "1 unit" in note for note in plan.notes)
    assert alone.name not in " ".join(plan.notes)


def test_classes_of_a_fold_are_those_of_both_sides() -> None:
    units = [
        unit(key(dataset="a", subject=str(s), run=str(k)), k, run_index=10 * s + k)
        for s in range(2)
        for k in (0, 1)
    ]
    units += [
        unit(key(dataset="b", subject=str(s), run=str(k)), k, run_index=50 + 10 * s + k)
        for s in range(3)
        for k in (0, 1, 2)
    ]
    table = table_of(units, classes=("acquisition", "consolidation", "reversal"))
    folds = draw_folds(table, LODO, paired=False)
    assert [fold.classes for fold in folds] == [(0, 1), (0, 1)]
    assert [len(fold.training) for fold in folds] == [6, 4]
    assert [len(fold.validation) for fold in folds] == [4, 6]
    plan = plan_folds(table, LODO, paired=False)
    assert "3 unit(s) are scored in no fold" in plan.notes[-1]
    manifest = fold_manifest(folds, table, LODO)
    assert len(manifest["left_out"]) == 3
    assert manifest["notes"] == list(plan.notes)


def test_a_fold_without_two_common_classes_is_dropped_with_a_note() -> None:
    units = paired_units({"a": ["1", "2"], "b": ["1"]})
    units = [replace(u, pair="") for u in units]
    units.append(unit(key(dataset="c", run="01"), 1, run_index=9))
    plan = plan_folds(table_of(units), LODO, paired=False)
    assert [fold.name for fold in plan.folds] == ["a", "b"]
    assert any("Fold c is dropped" in note for note in plan.notes)


def test_a_target_without_a_scorable_fold_is_refused_by_name() -> None:
    units = [
        unit(key(dataset=dataset, subject=str(s)), index, run_index=10 * index + s)
        for index, dataset in enumerate(("a", "b", "c"))
        for s in range(2)
    ]
    table = table_of(units, classes=("one", "two", "three"))
    with pytest.raises(TargetError, match=r"planted.*leave-one-dataset-out"):
        draw_folds(table, LODO, paired=False)


def test_a_paired_target_is_refused_under_leave_one_run_out() -> None:
    with pytest.raises(TargetError, match=r"planted.*leave-one-run-out: the run number"):
        draw_folds(paired_table(), LORO, paired=True)


def event_units(runs: Sequence[str], acquisition: str = "") -> list[Unit]:
    return [
        unit(
            key(subject=subject, run=run, acquisition=acquisition),
            class_index,
            run_index=index,
            event_index=class_index,
        )
        for subject in ("01", "02")
        for index, run in enumerate(runs)
        for class_index in (0, 1)
    ]


def test_leave_one_run_out_holds_out_the_same_number_of_every_subject() -> None:
    table = table_of(event_units(("01", "2", "03")))
    folds = draw_folds(table, LORO, paired=False)
    check_folds(folds, table, LORO)
    assert [fold.name for fold in folds] == ["run-1", "run-2", "run-3"]
    for fold in folds:
        numbers = {table.units[i].key.run_number for i in fold.validation}
        assert len(numbers) == 1
        assert groups(table, fold.validation) == groups(table, fold.training)
        assert len(fold.validation) == 4


def test_runs_without_a_number_are_ranked() -> None:
    table = table_of(event_units(("a", "b")))
    folds = draw_folds(table, LORO, paired=False)
    assert [fold.name for fold in folds] == ["run-1", "run-2"]
    assert {table.units[i].key.run for i in folds[1].validation} == {"b"}


def test_two_echoes_of_one_run_stay_on_one_side() -> None:
    units = event_units(("01", "02"), "echo-1") + event_units(("01", "02"), "echo-2")
    table = table_of(units)
    for fold in draw_folds(table, LORO, paired=False):
        assert {table.units[i].key.acquisition for i in fold.validation} == {"echo-1", "echo-2"}
        assert len({table.units[i].key.run for i in fold.validation}) == 1


def test_the_monitor_of_leave_one_run_out_is_whole_runs() -> None:
    table = table_of(event_units(("01", "02", "03", "04")))
    for fold in draw_folds(table, LORO, paired=False, monitor_fraction=0.3):
        watched = {table.units[i].name.split("#")[0] for i in fold.monitor}
        trained = {table.units[i].name.split("#")[0] for i in fold.training}
        assert len(watched) == 2
        assert not watched & trained


def test_a_monitor_that_would_empty_training_is_refused() -> None:
    table = paired_table({"a": ["1"], "b": ["1"]})
    with pytest.raises(ConfigError, match=r"too few to set one aside"):
        draw_folds(table, LODO, paired=True, monitor_fraction=0.2)


@pytest.mark.parametrize("role", ["training", "monitor"])
def test_a_planted_subject_on_two_sides_is_leakage_and_named(role: str) -> None:
    table = paired_table()
    fold = draw_folds(table, LOSO, paired=True)[0]
    planted = replace(fold, **{role: (*getattr(fold, role), fold.validation[0])})
    with pytest.raises(LeakageError, match=r"ds000002/sub-01.*two sides.*validation"):
        check_folds([planted], table, LOSO)


def test_a_planted_subject_in_training_and_monitor_is_leakage() -> None:
    table = paired_table()
    fold = draw_folds(table, LOSO, paired=True)[0]
    with pytest.raises(LeakageError, match="two sides"):
        check_folds([replace(fold, monitor=fold.training[:1])], table, LOSO)


def test_a_run_on_two_sides_is_leakage_under_leave_one_run_out() -> None:
    table = table_of(event_units(("01", "02")))
    fold = draw_folds(table, LORO, paired=False)[0]
    planted = replace(
        fold, training=(*fold.training, fold.validation[1]), validation=fold.validation[:1]
    )
    with pytest.raises(LeakageError, match=r"the run .*run-01 stands on two sides"):
        check_folds([planted], table, LORO)


def test_a_data_set_on_two_sides_is_leakage_under_leave_one_dataset_out() -> None:
    table = paired_table()
    folds = draw_folds(table, LOSO, paired=True)
    check_folds(folds, table, LOSO)
    with pytest.raises(LeakageError, match="data set ds000002"):
        check_folds(folds, table, LODO)


def test_a_copy_of_a_subject_in_another_data_set_is_leakage() -> None:
    units = paired_units(SUBJECTS)
    images = [f"sha-{index}" for index in range(len(units))]
    table = table_of(units, image_of_run=tuple(images))
    folds = draw_folds(table, LODO, paired=True)
    check_folds(folds, table, LODO)
    copied = replace(table, image_of_run=(*images[:-1], images[0]))
    with pytest.raises(LeakageError, match="the image sha-0 stands on two sides"):
        check_folds(folds, copied, LODO)


def test_a_fold_manifest_reads_back_as_the_same_folds(tmp_path: Path) -> None:
    table = paired_table()
    folds = draw_folds(table, LODO, paired=True, monitor_fraction=0.3)
    manifest = fold_manifest(folds, table, LODO)
    write_folds(manifest, tmp_path / "folds.json")
    assert read_folds(tmp_path / "folds.json", table) == folds
    assert [path.name for path in tmp_path.iterdir()] == ["folds.json"]


def test_a_changed_fold_manifest_is_refused(tmp_path: Path) -> None:
    table = paired_table()
    manifest = fold_manifest(draw_folds(table, LODO, paired=True), table, LODO)
    manifest["folds"][0]["training"].pop()
    (tmp_path / "folds.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="does not match its content hash"):
        read_folds(tmp_path / "folds.json", table)


def test_folds_of_other_data_are_refused_by_unit(tmp_path: Path) -> None:
    table = paired_table()
    path = tmp_path / "folds.json"
    write_folds(fold_manifest(draw_folds(table, LODO, paired=True), table, LODO), path)
    with pytest.raises(DataError, match=r"sub-02.*does not have"):
        read_folds(path, paired_table({"ds000002": ["01", "02", "03"], "ds000011": ["01"]}))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"folds": []}', "7"])
def test_a_damaged_fold_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "folds.json"
    path.write_text(text)
    with pytest.raises(DataError, match="fold manifest"):
        read_folds(path, paired_table())
