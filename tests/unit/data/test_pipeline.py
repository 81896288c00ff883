"""The pipeline: whole sets or nothing, made once, run by run, the same however spread."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.images import read_bold
from spectrum.data.pipeline import Making, PrepareResult, find_shards, prepare
from spectrum.data.quality import measure_quality
from spectrum.data.recipe import apply_recipe
from spectrum.data.runs import RunTable
from spectrum.data.shards import ShardSet
from spectrum.errors import DataError, ShardError
from spectrum.targets import Target, read_target
from tests.tiny_bids import RUNS, TASK, tiny_data, write_nifti, write_run
from tests.unit.data.tiny_sets import RECIPE, content_of, prepare_tree

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def root(tiny_bids: Callable[..., Path]) -> Path:
    return tiny_bids()


@pytest.fixture
def shards_root(tmp_path: Path) -> Path:
    return tmp_path / "shards"


def _files(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of change of everything below a folder but the marks of use."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if ".used" not in p.parts):
        status = path.stat()
        found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def test_every_run_is_in_the_set_bit_for_bit(root: Path, shards_root: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = prepare_tree(
        root, shards_root, on_run_done=lambda done, total: seen.append((done, total))
    )
    assert (result.num_runs, result.num_volumes, result.refused) == (4, 55 - 4, ())
    assert not result.reused
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    shards = ShardSet.open(result.shards)
    shards.check_content()
    manifest = shards.manifest
    assert manifest.recipe == RECIPE
    assert [run.key for run in manifest.runs] == sorted(run.key for run in manifest.runs)
    for run, found in zip(manifest.runs, index_bids([root]).runs, strict=True):
        image = read_bold(found.path)
        expected = apply_recipe(image, tr_s=2.0, config=RECIPE)
        np.testing.assert_array_equal(shards.read_run(run), expected)
        quality = measure_quality(image.data_XYZV, image.voxel_mm)
        assert run.quality == quality.run
        np.testing.assert_array_equal(
            shards.read_volume_quality(run)["dvars"], quality.volume["dvars"][1:]
        )
        assert run.image_sha256 == image.sha256
        assert run.source_shape == image.data_XYZV.shape
        assert run.tr_s == 2.0


def test_events_count_from_the_first_volume_kept(root: Path, shards_root: Path) -> None:
    shards = ShardSet.open(prepare_tree(root, shards_root).shards)
    for run in shards.manifest.runs:
        assert [event.onset_s for event in run.events] == [0.0 - 2.0, 8.0 - 2.0]
        assert [event.trial_type for event in run.events] == ["face", "house"]


def test_a_file_holds_one_whole_subject(root: Path, shards_root: Path) -> None:
    result = prepare_tree(root, shards_root)
    runs = ShardSet.open(result.shards).manifest.runs
    subject_of_file = {run.shard: run.subject for run in runs}
    assert len(subject_of_file) == 2
    assert all(subject_of_file[run.shard] == run.subject for run in runs)
    assert {p.name for p in result.shards.iterdir()} == {*subject_of_file, "manifest.json"}


def test_nothing_but_finished_sets_and_known_digests_stays(root: Path, shards_root: Path) -> None:
    result = prepare_tree(root, shards_root)
    beside = {"digests.json", "voxels.json", ".used", ".spatial"}
    assert {p.name for p in shards_root.iterdir()} == {result.shards.name, *beside}
    kept = [path for path in (shards_root / ".spatial").rglob("*") if path.is_file()]
    assert [path.suffix for path in kept] == [".safetensors"] * result.num_runs
    assert result.shards.name.startswith(result.fingerprint[:16])


def test_a_second_call_writes_nothing_and_opens_no_image(root: Path, shards_root: Path) -> None:
    first = prepare_tree(root, shards_root)
    before = _files(shards_root)
    for path in root.rglob("*_bold.nii.gz"):
        status = path.stat()
        raw = bytearray(path.read_bytes())
        raw[100:] = bytes(len(raw) - 100)
        path.write_bytes(raw)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    table = index_bids([root])
    table = replace(table, runs=tuple(replace(r, tr_s=2.0) for r in _like(table, first, root)))
    second = prepare(table, RECIPE, shards_root=shards_root)
    assert second.reused
    assert replace(second, reused=False, seconds=0.0) == replace(first, seconds=0.0)
    assert _files(shards_root) == before
    assert find_shards(table, RECIPE, shards_root) == first.shards


def _like(table: RunTable, result: PrepareResult, root: Path) -> list[Any]:
    """The runs as the index saw them while the images were whole."""
    shapes = {run.key: run for run in ShardSet.open(result.shards).manifest.runs}
    return [
        replace(
            run, shape=shapes[run.key].source_shape, voxel_mm=shapes[run.key].voxel_mm, problems=()
        )
        for run in table.runs
    ]


def test_a_touched_image_is_the_same_and_a_changed_one_is_not(
    root: Path, shards_root: Path
) -> None:
    first = prepare_tree(root, shards_root)
    path = next(root.rglob("*run-02_bold.nii.gz"))
    os.utime(path)
    assert prepare_tree(root, shards_root).reused
    write_nifti(path, tiny_data(13, seed=99))
    assert find_shards(index_bids([root]), RECIPE, shards_root) is None
    changed = prepare_tree(root, shards_root)
    assert not changed.reused
    assert changed.shards != first.shards
    assert ShardSet.open(first.shards).manifest.num_volumes == first.num_volumes


def test_an_added_run_makes_that_run_alone(root: Path, shards_root: Path) -> None:
    first = prepare_tree(root, shards_root)
    write_run(root, ("02", TASK, "03"), 17)
    seen: list[tuple[int, int]] = []
    second = prepare_tree(
        root, shards_root, on_run_done=lambda done, total: seen.append((done, total))
    )
    assert seen == [(5, 5)]
    assert (second.num_runs, second.num_volumes) == (5, first.num_volumes + 16)
    one, two = ShardSet.open(first.shards), ShardSet.open(second.shards)
    two.check_content()
    assert [r.content_sha256 for r in two.manifest.runs[:4]] == [
        r.content_sha256 for r in one.manifest.runs
    ]
    untouched = one.manifest.runs[0].shard
    assert (first.shards / untouched).samefile(second.shards / untouched)
    fresh = prepare_tree(root, shards_root.with_name("fresh"))
    assert content_of(fresh) == two.manifest.content_hash


def test_changed_events_are_new_events_on_old_volumes(root: Path, shards_root: Path) -> None:
    first = prepare_tree(root, shards_root)
    path = next(root.rglob("*run-01_events.tsv"))
    path.write_text("onset\tduration\ttrial_type\n6.0\t1.0\tcat\n", encoding="utf-8")
    seen: list[int] = []
    second = prepare_tree(root, shards_root, on_run_done=lambda done, _: seen.append(done))
    assert not seen
    assert not second.reused
    assert content_of(second) != content_of(first)
    events = [run.events for run in ShardSet.open(second.shards).manifest.runs]
    assert sum(e[0].trial_type == "cat" for e in events) == 1


def test_the_content_is_the_same_for_1_2_and_4_workers_and_any_order(
    root: Path, tmp_path: Path
) -> None:
    table = index_bids([root])
    contents = set()
    for cpus in (2.0, 1.0, 0.5, 0.0):
        runs = list(table.runs)
        random.Random(int(10 * cpus)).shuffle(runs)
        result = prepare(
            replace(table, runs=tuple(runs)),
            RECIPE,
            shards_root=tmp_path / f"shards-{cpus}",
            how=Making(cpus_per_run=cpus),
        )
        contents.add(content_of(result))
    assert len(contents) == 1


def test_a_target_limits_the_runs_to_those_it_labels(root: Path, shards_root: Path) -> None:
    write_run(root, ("01", "mixedeventrelatedprobe", "01"), 14)
    table = index_bids([root])
    early_late = prepare(table, RECIPE, shards_root=shards_root, target=read_target("early_late"))
    assert early_late.num_runs == len(RUNS)
    houses = Target.model_validate(
        {
            "name": "houses",
            "classes": ["face", "house"],
            "event": {"trial_types": {"face": "face", "house": "house"}},
        }
    )
    everything = prepare(table, RECIPE, shards_root=shards_root, target=houses)
    assert everything.num_runs == len(RUNS) + 1
    other = Target.model_validate(
        {
            "name": "cats",
            "classes": ["cat", "dog"],
            "event": {"trial_types": {"cat": "cat", "dog": "dog"}},
        }
    )
    with pytest.raises(DataError, match="labelled by the target"):
        prepare(table, RECIPE, shards_root=shards_root, target=other)


def test_a_switch_that_lets_ray_unpickle_stops_the_pipeline(
    root: Path, shards_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR", "1")
    with pytest.raises(ShardError, match="RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR"):
        prepare_tree(root, shards_root)
    assert not shards_root.exists()


def test_the_callers_ray_data_settings_are_left_alone(root: Path, shards_root: Path) -> None:
    import logging

    import ray.data

    context = ray.data.DataContext.get_current()
    before = (context.enable_progress_bars, logging.getLogger("ray.data").level)
    prepare_tree(root, shards_root)
    context = ray.data.DataContext.get_current()
    assert (context.enable_progress_bars, logging.getLogger("ray.data").level) == before


def test_real_runs_of_one_slice_become_a_set(realdata: Path, shards_root: Path) -> None:
    table = index_bids([realdata / "bold" / "haxby2001-1slice"])
    recipe = PreprocessingConfig(grid="native")
    result = prepare(table, recipe, shards_root=shards_root)
    assert (result.num_runs, result.num_volumes, result.refused) == (8, 968, ())
    shards = ShardSet.open(result.shards)
    assert shards.manifest.shape_SHW == (1, 20, 40)
    shards.check_content()
    assert prepare(table, recipe, shards_root=shards_root).reused
