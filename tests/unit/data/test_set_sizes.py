"""Estimated sizes against what is written, on simulated scanners of two geometries."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.inputs import Inputs, select_inputs
from spectrum.data.manifest import write_manifest
from spectrum.data.pieces import finish_run, piece_path
from spectrum.data.runs import RunTable
from spectrum.data.set_plan import SetPlan, describe_set
from spectrum.data.set_sizes import SizeEstimate, check_room, free_bytes
from spectrum.data.shards import RunSource, shard_name, write_shard
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.data.store import set_bytes, spatial_bytes
from spectrum.errors import ShardError
from spectrum.targets import read_target

RECIPES: dict[str, dict[str, Any]] = {
    "common grid": {"voxel_mm": 9.0},
    "common grid, unmasked": {"voxel_mm": 14.0, "brain_mask": False},
    "matrix": {"grid": "matrix", "matrix": (15, 14, 11), "drop_initial_volumes": 3},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> RunTable:
    config = SimulationConfig(truth="null", num_subjects=2, datasets=("ds000002", "ds000052"))
    return index_bids(simulate(tmp_path_factory.mktemp("bids"), config))


def shapes(table: RunTable) -> dict[str, tuple[int, int, int, int]]:
    return {str(run.key): run.shape for run in table.runs if run.shape is not None}


def inputs_of(table: RunTable, recipe: PreprocessingConfig, root: Path) -> Inputs:
    root.mkdir(exist_ok=True)
    (root / ".pieces-x").mkdir(exist_ok=True)
    return select_inputs(table, recipe, read_target("early_late"), root / ".pieces-x")


def made_set(inputs: Inputs, root: Path) -> Path:
    """Make a set in this process, as the pipeline's tasks do."""
    plan = SetPlan(root=root, inputs=inputs)
    folder = plan.folder("0" * 16)
    folder.mkdir()
    runs = [outcome.run for outcome in map(finish_run, inputs.jobs) if outcome.run is not None]
    assert len(runs) == len(inputs.jobs)
    for _, members in groupby(runs, key=lambda run: run.key.group):
        group = list(members)
        pieces = [str(piece_path(plan.pieces, run.key, run.fingerprint)) for run in group]
        pieces = [piece.replace(plan.pieces.name, ".pieces-x") for piece in pieces]
        sources = [RunSource(path=piece, row_group=0) for piece in pieces]
        write_shard(folder / shard_name(group), group[0].shape_SHW, sources)
    write_manifest(describe_set(plan, tuple(runs), (), "0" * 64), folder)
    return folder


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_set_and_its_spatial_parts_take_what_was_estimated_within_a_tenth(
    table: RunTable, tmp_path: Path, name: str
) -> None:
    recipe = PreprocessingConfig(**RECIPES[name])
    inputs = inputs_of(table, recipe, tmp_path / "shards")
    size = SizeEstimate(inputs.jobs, shapes(table)).size_of(recipe)
    folder = made_set(inputs, tmp_path / "shards")
    assert size.num_runs == len(inputs.jobs)
    assert size.set_bytes == pytest.approx(set_bytes(folder), rel=0.1)
    num_parts, part_bytes = spatial_bytes(tmp_path / "shards")
    assert num_parts == len(inputs.jobs)
    assert size.spatial_bytes == pytest.approx(part_bytes, rel=0.1)


def test_on_the_scanner_grid_the_runs_of_the_commonest_shape_make_the_set(
    table: RunTable, tmp_path: Path
) -> None:
    recipe = PreprocessingConfig(grid="native")
    inputs = inputs_of(table, recipe, tmp_path / "shards")
    size = SizeEstimate(inputs.jobs, shapes(table)).set_size(recipe)
    at_hand = [shapes(table)[job.name][:3] for job in inputs.jobs]
    assert size.num_runs == max(at_hand.count(shape) for shape in set(at_hand))
    assert 0 < size.num_runs < len(inputs.jobs)


def test_runs_that_no_disk_has_room_for_are_refused_with_both_sizes_before_one_is_made(
    table: RunTable, tmp_path: Path
) -> None:
    recipe = PreprocessingConfig(voxel_mm=9.0)
    inputs = inputs_of(table, recipe, tmp_path / "shards")
    needed = SizeEstimate(inputs.jobs, shapes(table)).size_of(recipe)
    with pytest.raises(ShardError, match=r"takes about \d+ MiB of disk, .* has 10 MiB free"):
        check_room(tmp_path, inputs.jobs, lambda folder: 10 * 1024**2)
    enough = 2 * needed.set_bytes + needed.spatial_bytes
    check_room(tmp_path, inputs.jobs, lambda folder: enough)
    check_room(tmp_path, (), lambda folder: 0)


@contextmanager
def images_opened() -> Iterator[list[str]]:
    """Yield a list that gets the path of every image opened in the block."""
    opened: list[str] = []
    is_over = [False]

    def note(event: str, told: tuple[Any, ...]) -> None:
        if event == "open" and not is_over[0] and str(told[0]).endswith("_bold.nii.gz"):
            opened.append(str(told[0]))

    sys.addaudithook(note)
    try:
        yield opened
    finally:
        is_over[0] = True


def test_images_are_read_only_where_brains_that_fill_their_grids_would_not_fit(
    table: RunTable, tmp_path: Path
) -> None:
    recipe = PreprocessingConfig(voxel_mm=9.0)
    jobs = inputs_of(table, recipe, tmp_path / "shards").jobs
    measured = SizeEstimate(jobs, shapes(table)).size_of(recipe)
    most = SizeEstimate(jobs, shapes(table), reads_images=False).size_of(recipe)
    assert most.set_bytes == measured.set_bytes
    assert most.spatial_bytes > measured.spatial_bytes
    headers = sorted(str(job.image_paths[0]) for job in jobs)
    with images_opened() as opened:
        check_room(tmp_path, jobs, lambda folder: 2 * most.set_bytes + most.spatial_bytes)
    assert sorted(opened) == headers
    with images_opened() as opened:
        check_room(tmp_path, jobs, lambda folder: 2 * most.set_bytes + most.spatial_bytes - 1)
    assert len(opened) > len(headers)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_mask_that_cannot_be_read_costs_its_run_s_share_of_the_estimate_and_no_more(
    table: RunTable, tmp_path: Path, is_there: bool
) -> None:
    recipe = PreprocessingConfig(voxel_mm=14.0)
    jobs = inputs_of(table, recipe, tmp_path / "shards").jobs
    mask = tmp_path / "mask.nii.gz"
    if is_there:
        mask.write_bytes(b"no mask")
    broken = [job.model_copy(update={"mask_path": str(mask)}) for job in jobs]
    most = SizeEstimate(jobs, shapes(table), reads_images=False).size_of(recipe)
    assert SizeEstimate(broken, shapes(table)).size_of(recipe) == most
    others = [*broken[:1], *jobs[1:]]
    assert SizeEstimate(others, shapes(table)).size_of(recipe).spatial_bytes < most.spatial_bytes
    check_room(tmp_path, broken, lambda folder: 2 * most.set_bytes + most.spatial_bytes)
    with pytest.raises(ShardError, match="takes about"):
        check_room(tmp_path, broken, lambda folder: most.set_bytes)


def test_spatial_parts_that_are_kept_need_no_room(table: RunTable, tmp_path: Path) -> None:
    recipe = PreprocessingConfig(voxel_mm=14.0)
    inputs = inputs_of(table, recipe, tmp_path / "shards")
    jobs = inputs.jobs[:2]
    digests = {
        job.name: tuple(o.digests[str(path)][2] for path in job.input_paths)
        for job in jobs
        for o in [finish_run(job)]
    }
    known = [job.model_copy(update={"known_digests": digests[job.name]}) for job in jobs]
    size = SizeEstimate(jobs, shapes(table)).set_size(recipe)
    check_room(tmp_path, known, lambda folder: 2 * size.set_bytes)
    with pytest.raises(ShardError):
        check_room(tmp_path, jobs, lambda folder: 2 * size.set_bytes)


def test_the_free_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_one_above(
    tmp_path: Path,
) -> None:
    assert free_bytes(tmp_path / "a" / "b") == pytest.approx(free_bytes(tmp_path), rel=0.05)
