"""One fold that holds some people out, and run tables that never open the files of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.data.bids import find_run_images, index_bids
from spectrum.data.folds import hold_out
from spectrum.errors import DataError, LeakageError, TargetError
from tests.tiny_bids import TASK
from tests.unit.data.fake_shards import key, paired_units, table_of, unit


def test_all_others_train_and_pairs_stay_whole() -> None:
    units = paired_units({"a": ["1", "2", "3"], "b": ["1", "2"]})
    table = table_of([*units, unit(key(dataset="a", subject="4"), 0, pair="a/sub-4/learn")])
    fold = hold_out(table, lambda u: u.key.dataset == "b", name="sealed", paired=True)
    assert {table.units[i].key.dataset for i in fold.validation} == {"b"}
    assert len(fold.validation) == 4
    assert {table.units[i].key.subject for i in fold.training} == {"1", "2", "3"}
    assert (fold.classes, fold.monitor) == ((0, 1), ())


def test_units_of_a_class_that_one_side_lacks_stand_on_neither() -> None:
    units = [
        unit(key(dataset=d, subject=s, run=str(c)), c, run_index=3 * i + c)
        for i, (d, s) in enumerate([("a", "1"), ("a", "2"), ("b", "1")])
        for c in range(3)
        if not (d == "b" and c == 2)
    ]
    table = table_of(units, classes=("x", "y", "z"))
    fold = hold_out(table, lambda u: u.key.dataset == "b", name="sealed", paired=False)
    assert fold.classes == (0, 1)
    assert {table.units[i].class_index for i in fold.training} == {0, 1}
    only_z = [u for u in units if u.key.dataset == "a" or u.class_index == 0]
    with pytest.raises(TargetError, match="two classes"):
        hold_out(
            table_of(only_z, classes=("x", "y", "z")),
            lambda u: u.key.dataset == "b",
            name="sealed",
            paired=False,
        )


def test_a_person_on_both_sides_under_two_names_is_leakage() -> None:
    units = paired_units({"a": ["1", "2"], "b": ["1", "2"]})
    linked = [replace(u, person="a/sub-2") if u.key.group == "b/sub-1" else u for u in units]
    with pytest.raises(LeakageError, match="a/sub-2 stands on two sides"):
        hold_out(table_of(linked), lambda u: u.key.dataset == "b", name="sealed", paired=True)


def test_an_image_on_both_sides_is_leakage() -> None:
    units = paired_units({"a": ["1", "2"], "b": ["1", "2"]})
    images = (*(f"image-{i}" for i in range(7)), "image-0")
    with pytest.raises(LeakageError, match="image image-0"):
        hold_out(
            table_of(units, image_of_run=images),
            lambda u: u.key.dataset == "b",
            name="sealed",
            paired=True,
        )


def test_files_of_runs_that_are_left_out_are_never_opened(
    tiny_bids: Callable[..., Path],
) -> None:
    one, other = tiny_bids("ds000002"), tiny_bids("ds000011")
    func = one / "sub-02" / "func"
    for path in [*func.iterdir(), *other.glob("sub-*/func/*")]:
        path.unlink()
        path.symlink_to("/proc/1/mem")  # a file that fails whoever opens it
    table = index_bids(
        [one, other],
        leave_out=lambda k: k.dataset == "ds000011" or k.group == "ds000002/sub-02",
    )
    assert {run.key.group for run in table.runs} == {"ds000002/sub-01"}
    assert not table.problems
    assert all(run.is_usable for run in table.runs)


def test_images_of_runs_are_found_by_name_alone(tiny_bids: Callable[..., Path]) -> None:
    root = tiny_bids("ds000002")
    for path in root.glob("sub-*/func/*.nii.gz"):
        path.write_bytes(b"no image")
    found = find_run_images([root])
    assert [(k.subject, k.run) for k in found] == [
        ("01", "01"),
        ("01", "02"),
        ("02", "01"),
        ("02", "02"),
    ]
    assert all(
        path.name.endswith(f"{TASK}_run-{k.run}_bold.nii.gz") for k, (path,) in found.items()
    )
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="has no BOLD run"):
        find_run_images([root / "empty"])
