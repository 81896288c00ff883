"""Runs that cannot be made are refused by name, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import Making, find_shards, prepare
from spectrum.data.shards import ShardSet
from spectrum.errors import DataError
from tests.tiny_bids import TASK, write_run
from tests.unit.data.dying_tasks import attempts, make_or_refuse
from tests.unit.data.tiny_sets import RECIPE, content_of, prepare_tree

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def root(tiny_bids: Callable[..., Path]) -> Path:
    return tiny_bids()


@pytest.fixture
def shards_root(tmp_path: Path) -> Path:
    return tmp_path / "shards"


def _damage(root: Path, name: str) -> Path:
    path = next(root.rglob(name))
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw)
    return path


def test_a_damaged_run_is_refused_by_name_and_the_others_go_on(
    root: Path, shards_root: Path
) -> None:
    path = _damage(root, "sub-02*run-01_bold.nii.gz")
    short = write_run(root, ("02", TASK, "04"), 2)
    result = prepare_tree(root, shards_root)
    assert [(p.code, p.path) for p in result.refused] == [
        ("bad-gzip", str(path)),
        ("too-short", str(short)),
    ]
    assert "ds000002/sub-02_task" in result.refused[1].message
    assert result.num_runs == 3
    again = prepare_tree(root, shards_root)
    assert again.reused
    assert again.refused == result.refused
    write_run(root, ("02", TASK, "01"), 20)
    healed = prepare_tree(root, shards_root)
    assert (healed.num_runs, len(healed.refused)) == (4, 1)


def test_a_run_without_an_image_is_refused_and_one_without_events_is_not(
    root: Path, shards_root: Path
) -> None:
    next(root.rglob("sub-01*run-01_bold.nii.gz")).unlink()
    next(root.rglob("sub-01*run-02_events.tsv")).unlink()
    result = prepare_tree(root, shards_root)
    assert [p.code for p in result.refused] == ["missing-image"]
    runs = ShardSet.open(result.shards).manifest.runs
    assert [len(run.events) for run in runs] == [0, 2, 2]


def test_broken_events_are_a_reason_to_refuse(root: Path, shards_root: Path) -> None:
    path = next(root.rglob("sub-01*run-01_events.tsv"))
    path.write_text("onset\tduration\ttrial_type\nsoon\t1\tface\n", encoding="utf-8")
    result = prepare_tree(root, shards_root)
    assert [(p.code, p.path) for p in result.refused] == [("bad-events", str(path))]


@pytest.mark.parametrize("code", ["out-of-memory", "unreadable"])
def test_a_run_whose_fault_may_pass_is_refused_once_and_tried_again_by_the_next_call(
    root: Path, shards_root: Path, tmp_path: Path, code: str
) -> None:
    marks, table = tmp_path / "marks", index_bids([root])
    marks.mkdir()
    name = f"sub-01_task-{TASK}_run-02"
    failing = partial(make_or_refuse, refused=(name,), code=code, marks=marks)
    first = prepare_tree(root, shards_root, how=Making(make_run=failing))
    assert [problem.code for problem in first.refused] == [code]
    assert first.num_runs == 3
    assert find_shards(table, RECIPE, shards_root) is None
    again = prepare_tree(root, shards_root, how=Making(make_run=failing))
    assert (again.shards, again.refused) == (first.shards, first.refused)
    assert sorted(attempts(marks).values()) == [1, 1, 1, 2]
    whole = prepare_tree(root, shards_root)
    assert (whole.num_runs, whole.refused, whole.reused) == (4, (), False)
    assert content_of(whole) == content_of(prepare_tree(root, shards_root.with_name("sound")))
    assert find_shards(table, RECIPE, shards_root) == whole.shards
    assert not list((shards_root / ".holders").iterdir())


def test_a_set_without_a_run_is_an_error_that_names_the_first(
    root: Path, shards_root: Path
) -> None:
    for name in ("sub-01*run-01", "sub-01*run-02", "sub-02*run-01", "sub-02*run-02"):
        _damage(root, f"{name}_bold.nii.gz")
    with pytest.raises(DataError, match=r"All 4 runs were refused.*bad-gzip") as caught:
        prepare_tree(root, shards_root)
    assert caught.value.code == "no-runs"
    assert not list(shards_root.glob("*/manifest.json"))


def test_on_their_own_grid_runs_of_another_shape_are_refused(
    root: Path, shards_root: Path
) -> None:
    write_run(root, ("01", TASK, "03"), 12, shape=(7, 8, 5))
    recipe = PreprocessingConfig(grid="native", fwhm_mm=0.0)
    result = prepare(index_bids([root]), recipe, shards_root=shards_root)
    assert [p.code for p in result.refused] == ["other-shape"]
    assert "(5, 8, 7)" in result.refused[0].message
    assert ShardSet.open(result.shards).manifest.shape_SHW == (9, 8, 7)
    assert prepare(index_bids([root]), recipe, shards_root=shards_root).reused
