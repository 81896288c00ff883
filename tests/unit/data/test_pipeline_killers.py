"""Runs whose workers die: refused by name, remembered, tried again when asked; all others made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from spectrum.data.bids import index_bids
from spectrum.data.fan_out import MAX_DEATHS
from spectrum.data.pipeline import Making, PrepareResult, find_shards
from spectrum.errors import DataError, ShardError
from spectrum.targets import read_target
from tests.tiny_bids import TASK, tiny_data, write_nifti, write_run, write_tiny_bids
from tests.unit.data.dying_tasks import (
    attempts,
    fail_for_want_of_disk,
    look_or_die,
    make_or_die,
    tell_wrong,
)
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


@dataclass(frozen=True)
class Refused:
    """A tree, its sets, and what became of the making in which one run killed its workers."""

    folder: Path
    result: PrepareResult
    seen: tuple[tuple[int, int], ...]

    @property
    def root(self) -> Path:
        return self.folder / "ds000002"

    @property
    def shards_root(self) -> Path:
        return self.folder / "shards"

    @property
    def marks(self) -> Path:
        return self.folder / "marks"

    def prepare(self, how: Making | None = None) -> PrepareResult:
        return prepare_tree(self.root, self.shards_root, how=how or Making())


@pytest.fixture(scope="module")
def refused_once(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Refused:
    """Made once for all tests: each death costs the start of a worker."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "marks").mkdir()
    seen: list[tuple[int, int]] = []
    result = prepare_tree(
        write_tiny_bids(folder / "ds000002"),
        folder / "shards",
        how=dying(folder / "marks"),
        on_run_done=lambda done, total: seen.append((done, total)),
    )
    return Refused(folder, result, tuple(seen))


@pytest.fixture
def refused(refused_once: Refused, tmp_path: Path) -> Refused:
    """A copy of one's own."""
    copy = shutil.copytree(refused_once.folder, tmp_path / "refused")
    return replace(refused_once, folder=copy)


def test_a_run_that_kills_its_workers_is_refused_and_the_others_are_made(
    refused_once: Refused,
) -> None:
    result = refused_once.result
    [problem] = result.refused
    assert (problem.code, problem.refuses) == ("killed-its-worker", True)
    assert KILLER in problem.message
    assert "ended 3 workers" in problem.message
    assert "--retry" in problem.message
    assert problem.path.endswith("run-02_bold.nii.gz")
    assert result.num_runs == 3
    content_of(result)
    assert tries(refused_once.marks) == [1, 1, 1, MAX_DEATHS]
    assert refused_once.seen[-1] == (4, 4)
    assert not list(refused_once.shards_root.glob(".pieces-*"))


def test_a_killer_is_not_tried_again_unless_it_changes(refused: Refused) -> None:
    how = dying(refused.marks)
    again = refused.prepare(how)
    assert (again.reused, again.shards.name) == (True, refused.result.shards.name)
    assert _refusals(again) == [("killed-its-worker", f"{KILLER}_bold.nii.gz")]
    assert find_shards(index_bids([refused.root]), RECIPE, refused.shards_root) == again.shards
    next(refused.root.rglob(f"{KILLER}_bold.nii.gz")).touch()
    write_run(refused.root, ("02", TASK, "03"), 17)
    more = refused.prepare(how)
    assert (more.num_runs, _refusals(more)) == (4, _refusals(again))
    assert tries(refused.marks) == [1, 1, 1, 1, MAX_DEATHS]
    write_nifti(next(refused.root.rglob(f"{KILLER}_bold.nii.gz")), tiny_data(13, seed=99))
    changed = refused.prepare()
    assert (changed.num_runs, changed.refused) == (5, ())


def _refusals(result: PrepareResult) -> list[tuple[str, str]]:
    return [(problem.code, Path(problem.path).name) for problem in result.refused]


def test_a_killer_is_tried_again_when_asked_and_then_forgotten(refused: Refused) -> None:
    without, shards_root = refused.prepare(), refused.shards_root
    table = index_bids([refused.root])
    assert find_shards(table, RECIPE, shards_root, retry=True) is None
    stubborn = refused.prepare(Making(retry=True, make_run=dying(refused.marks).make_run))
    assert (stubborn.shards, stubborn.refused) == (without.shards, without.refused)
    assert tries(refused.marks) == [1, 1, 1, 2 * MAX_DEATHS]
    whole = refused.prepare(Making(retry=True))
    assert (whole.num_runs, whole.refused, whole.reused) == (4, (), False)
    assert whole.shards != without.shards
    sound = prepare_tree(refused.root, shards_root.with_name("sound"))
    assert content_of(whole) == content_of(sound)
    assert find_shards(table, RECIPE, shards_root) == whole.shards
    assert json.loads((shards_root / "quarantine.json").read_text()) == {}


def test_a_full_disk_is_told_to_who_asked_for_killers_again(refused: Refused) -> None:
    with pytest.raises(ShardError, match="No space left on device"):
        refused.prepare(Making(retry=True, make_run=fail_for_want_of_disk))
    assert refused.prepare().shards.name == refused.result.shards.name


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
