"""Runs whose workers die: refused by name, remembered, tried again when asked; all others made."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from spectrum.data.bids import index_bids
from spectrum.data.fan_out import MAX_DEATHS
from spectrum.data.pipeline import Making, find_shards
from spectrum.errors import DataError
from spectrum.targets import read_target
from tests.tiny_bids import TASK, tiny_data, write_nifti, write_run
from tests.unit.data.dying_tasks import attempts, look_or_die, make_or_die, tell_wrong
from tests.unit.data.tiny_sets import RECIPE, content_of, prepare_tree

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

KILLER = f"sub-01_task-{TASK}_run-02"


@pytest.fixture
def root(tiny_bids: Callable[..., Path]) -> Path:
    return tiny_bids()


@pytest.fixture
def shards_root(tmp_path: Path) -> Path:
    return tmp_path / "shards"


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def dying(marks: Path, *, times: int = 99, killers: tuple[str, ...] = (KILLER,)) -> Making:
    return Making(make_run=partial(make_or_die, killers=killers, times=times, marks=marks))


def tries(marks: Path) -> list[int]:
    return sorted(attempts(marks).values())


def test_a_run_that_kills_its_workers_is_refused_and_the_others_are_made(
    root: Path, shards_root: Path, marks: Path
) -> None:
    seen: list[tuple[int, int]] = []
    result = prepare_tree(
        root,
        shards_root,
        how=dying(marks),
        on_run_done=lambda done, total: seen.append((done, total)),
    )
    [refused] = result.refused
    assert (refused.code, refused.refuses) == ("killed-its-worker", True)
    assert KILLER in refused.message
    assert "ended 3 workers" in refused.message
    assert "--retry" in refused.message
    assert refused.path.endswith("run-02_bold.nii.gz")
    assert result.num_runs == 3
    content_of(result)
    assert tries(marks) == [1, 1, 1, MAX_DEATHS]
    assert seen[-1] == (4, 4)
    assert not list(shards_root.glob(".pieces-*"))


def test_a_killer_is_not_tried_again_unless_it_changes(
    root: Path, shards_root: Path, marks: Path
) -> None:
    first = prepare_tree(root, shards_root, how=dying(marks))
    again = prepare_tree(root, shards_root, how=dying(marks))
    assert (again.reused, again.shards, again.refused) == (True, first.shards, first.refused)
    assert find_shards(index_bids([root]), RECIPE, shards_root) == first.shards
    next(root.rglob(f"{KILLER}_bold.nii.gz")).touch()
    write_run(root, ("02", TASK, "03"), 17)
    more = prepare_tree(root, shards_root, how=dying(marks))
    assert (more.num_runs, more.refused) == (4, first.refused)
    assert tries(marks) == [1, 1, 1, 1, MAX_DEATHS]
    write_nifti(next(root.rglob(f"{KILLER}_bold.nii.gz")), tiny_data(13, seed=99))
    changed = prepare_tree(root, shards_root)
    assert (changed.num_runs, changed.refused) == (5, ())


def test_a_killer_is_tried_again_when_asked_and_then_forgotten(
    root: Path, shards_root: Path, marks: Path
) -> None:
    without = prepare_tree(root, shards_root, how=dying(marks))
    table = index_bids([root])
    assert find_shards(table, RECIPE, shards_root, retry=True) is None
    stubborn = prepare_tree(
        root, shards_root, how=Making(retry=True, make_run=dying(marks).make_run)
    )
    assert (stubborn.shards, stubborn.refused) == (without.shards, without.refused)
    whole = prepare_tree(root, shards_root, how=Making(retry=True))
    assert (whole.num_runs, whole.refused, whole.reused) == (4, (), False)
    assert whole.shards != without.shards
    assert content_of(whole) == content_of(prepare_tree(root, shards_root.with_name("sound")))
    assert find_shards(table, RECIPE, shards_root) == whole.shards
    assert json.loads((shards_root / "quarantine.json").read_text()) == {}


def test_a_run_that_fails_twice_and_then_works_is_like_any_other(
    root: Path, shards_root: Path, marks: Path
) -> None:
    result = prepare_tree(root, shards_root, how=dying(marks, times=MAX_DEATHS - 1))
    assert result.refused == ()
    assert tries(marks) == [1, 1, 1, MAX_DEATHS]
    assert content_of(result) == content_of(prepare_tree(root, shards_root.with_name("sound")))
    assert not (shards_root / "quarantine.json").exists()


def test_where_every_run_kills_its_workers_there_is_no_set_and_no_second_try(
    tiny_bids: Callable[..., Path], shards_root: Path, marks: Path
) -> None:
    root = tiny_bids(runs={("01", TASK, "01"): 11, ("01", TASK, "02"): 13})
    how = dying(marks, killers=("sub-01",))
    for _ in range(2):
        with pytest.raises(DataError, match=r"All 2 runs were refused.*killed-its-worker"):
            prepare_tree(root, shards_root, how=how)
    assert tries(marks) == [MAX_DEATHS] * 2


def test_an_image_of_no_run_that_kills_its_readers_is_taken_for_damaged_and_remembered(
    root: Path, shards_root: Path, marks: Path
) -> None:
    for run in ("01", "02"):
        write_run(root, ("02", "rest", run), 14)
    how = Making(look=partial(look_or_die, killers=("rest_run-01",), marks=marks))
    early_late = read_target("early_late")
    first = prepare_tree(root, shards_root, how=how, target=early_late)
    assert (first.num_runs, first.refused) == (4, ())
    assert tries(marks) == [1, MAX_DEATHS]
    write_run(root, ("02", TASK, "03"), 17)
    second = prepare_tree(root, shards_root, how=how, target=early_late)
    assert not second.reused
    assert attempts(marks)["sub-02_task-rest_run-01_bold.nii.gz"] == MAX_DEATHS


def test_an_image_of_no_run_is_read_by_one_task_alone(
    root: Path, shards_root: Path, marks: Path
) -> None:
    """The task tells a digest that nobody finds in the file, and nobody looks for another."""
    image = write_run(root, ("02", "rest", "01"), 14)
    how = Making(look=partial(tell_wrong, marks=marks))
    first = prepare_tree(root, shards_root, how=how, target=read_target("early_late"))
    assert json.loads((shards_root / "digests.json").read_text())[str(image)][2] == "f" * 64
    assert json.loads((shards_root / "voxels.json").read_text())["f" * 64] == "e" * 64
    assert prepare_tree(root, shards_root, target=read_target("early_late")).shards == first.shards
