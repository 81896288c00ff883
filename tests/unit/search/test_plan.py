"""The plan of a search: its recipes, their disk, and the refusal of what does not fit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.errors import SearchError
from spectrum.search.plan import (
    DiskPlan,
    PlannedSet,
    check_disk,
    plan_disk,
    plan_study,
    recipes_of,
)
from spectrum.search.preparation import prepare_study, weights_of
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.targets import read_target

MIB = 1024**2


def space_of(parameters: dict[str, Any], **rest: Any) -> SearchSpace:
    base = {
        "folds": {"scheme": "leave-one-subject-out"},
        "preprocessing": {"voxel_mm": 12.0, "high_pass_hz": 0.0},
    }
    return space_from_mapping({"name": "t", "base": base, "parameters": parameters, **rest})


GRIDS = {
    "preprocessing.voxel_mm": {"choice": [12.0, 15.0]},
    "preprocessing.fwhm_mm": {"choice": [0.0, 6.0, 9.0]},
}


def planned(size: int, *, made: bool = False, spatial: str = "a") -> PlannedSet:
    return PlannedSet(
        recipe="r", num_runs=3, num_volumes=11, num_bytes=size, made=made, spatial=spatial
    )


def test_recipes_are_those_that_points_reach_each_once() -> None:
    space = space_of(
        {
            "preprocessing.grid": {"choice": ["common", "matrix"]},
            "preprocessing.matrix": {
                "choice": [[7, 8, 9], [9, 8, 7]],
                "when": {"preprocessing.grid": "matrix"},
            },
            "preprocessing.voxel_mm": {"choice": [12.0, 15.0]},
            "model.depth": {"int": [1, 3]},
        },
        forbid=[{"preprocessing.grid": "common", "preprocessing.voxel_mm": 15.0}],
    )
    found = {(r.grid, r.matrix) for r in recipes_of(space)}
    assert found == {("common", None), ("matrix", (7, 8, 9)), ("matrix", (9, 8, 7))}
    assert len(recipes_of(space)) == 3, "voxel_mm does not count with grid: matrix"
    assert recipes_of(space)[0] == space.default_config.preprocessing


def test_a_recipe_that_follows_from_another_section_is_among_them() -> None:
    space = space_of(
        {"sequences.num_volumes": {"choice": [4, 8]}},
        derive={
            "preprocessing.fwhm_mm": {"lookup": "sequences.num_volumes", "values": {4: 2, 8: 6}}
        },
    )
    assert {recipe.fwhm_mm for recipe in recipes_of(space)} == {2.0, 6.0}


def test_the_plan_names_every_set_and_every_spatial_product(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    root, shards = tiny_bids(), tmp_path / "shards"
    plan = plan_study(space_of(GRIDS), roots=[root], shards_root=shards, num_trials=4)
    assert (plan["shard_sets"], plan["shard_sets_ready"], plan["refusal"]) == (6, 0, None)
    disk = plan["disk"]
    recipes = {s["recipe"] for s in disk["sets"]}
    assert "voxel_mm=15.0, fwhm_mm=9.0, high_pass_hz=0.0" in recipes
    assert {s["num_runs"] for s in disk["sets"]} == {4}
    assert disk["spatial_products"] == 2
    assert len({s["spatial"] for s in disk["sets"]}) == 2
    sizes = sorted((s["num_bytes"] for s in disk["sets"]), reverse=True)
    assert disk["set_bytes"] == sum(sizes[:4])
    assert not shards.exists()


def test_a_finer_grid_takes_its_cube_of_bytes(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    table = index_bids([tiny_bids()])
    space = space_of({"preprocessing.voxel_mm": {"choice": [12.0, 3.0]}})
    disk = plan_disk(space, table, read_target("early_late"), shards_root=tmp_path)
    coarse, fine = disk.sets
    assert coarse.num_volumes == fine.num_volumes == 55
    voxels = {mm: math.prod(math.ceil(mm_ / mm) for mm_ in (180, 216, 180)) for mm in (12, 3)}
    more = 2 * 55 * (voxels[3] - voxels[12])
    assert fine.num_bytes - coarse.num_bytes == more


def test_what_is_made_needs_no_disk_and_one_set_lies_there_twice_while_it_is_made() -> None:
    plan = DiskPlan(
        sets=(planned(70, made=True), planned(50), planned(30, spatial="b"), planned(20)),
        spatial={"a": 500, "b": 300, "c": 200},
        num_trials=2,
        disk_bytes=None,
        free_bytes=10**6,
    )
    assert plan.spatial_bytes == 800
    assert plan.set_bytes == 50 + 30
    assert plan.needed_bytes == (300 + 200) + (50 + 30) + 50
    assert replace(plan, disk_bytes=60).needed_bytes == (300 + 200) + 60 + 50


def test_a_search_over_its_budget_or_over_the_disk_is_refused_with_the_sizes() -> None:
    plan = DiskPlan(
        sets=(planned(50 * MIB),),
        spatial={"a": 300 * MIB, "b": 200 * MIB},
        num_trials=9,
        disk_bytes=400 * MIB,
        free_bytes=10**12,
    )
    with pytest.raises(SearchError, match=r"2 spatial products .* 500 MiB.* allows 400 MiB"):
        check_disk(plan, Path("shards"))
    check_disk(replace(plan, disk_bytes=500 * MIB), Path("shards"))
    tight = replace(plan, disk_bytes=None, free_bytes=599 * MIB)
    with pytest.raises(SearchError, match=r"up to 600 MiB .* 599 MiB free.*study\.disk_gib"):
        check_disk(tight, Path("shards"))
    check_disk(replace(tight, free_bytes=600 * MIB), Path("shards"))


@pytest.mark.parametrize(
    "how",
    [
        lambda files: {"parameters": {"model.weights": {"ordered": files}}},
        lambda files: {
            "parameters": {"model.temporal_depth": {"int": [0, 1]}},
            "derive": {
                "model.weights": {
                    "lookup": "model.temporal_depth",
                    "values": dict(enumerate(files)),
                }
            },
        },
    ],
    ids=["ordered", "derived"],
)
def test_every_weights_file_that_a_trial_may_start_from_has_its_digest_noted(
    tmp_path: Path, how: Callable[[list[str]], dict[str, Any]]
) -> None:
    files = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    for file in files:
        Path(file).write_text(file)
    base = {"model": {"weights": files[0], "amplitude_fraction": 0.0}}
    space = space_from_mapping({"name": "t", "base": base, **how(files)})
    expected = {file: hashlib.sha256(file.encode()).hexdigest() for file in files}
    assert weights_of(space) == expected


def test_a_search_that_would_be_refused_starts_nothing(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    space = space_of(GRIDS, study={"disk_gib": 1e-6})
    root, shards = tiny_bids(), tmp_path / "shards"
    told = plan_study(space, roots=[root], shards_root=shards)
    assert "study.disk_gib allows" in told["refusal"]
    with pytest.raises(SearchError, match=r"study\.disk_gib allows"):
        prepare_study(space, [root], shards_root=shards)
    assert not shards.exists()


def test_a_search_without_a_scorable_fold_is_refused_before_any_set_is_made(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    whole = {"folds": {"scheme": "leave-one-dataset-out"}}
    space = space_from_mapping(
        {"name": "t", "base": whole, "parameters": {"model.depth": {"int": [1, 3]}}}
    )
    plan = plan_study(space, roots=[tiny_bids()], shards_root=tmp_path)
    assert plan["folds"] is None
    assert "no scorable fold under leave-one-dataset-out" in plan["refusal"]


def test_a_large_space_is_planned_by_its_spatial_products_though_its_recipes_are_too_many() -> (
    None
):
    parameters = {
        f"preprocessing.{name}": {"ordered": values}
        for name, values in {
            "fwhm_mm": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            "high_pass_hz": [0.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008],
            "detrend": [True, False],
            "standardization": ["zscore", "percent", "volume", "none"],
            "drop_initial_volumes": [0, 1, 2, 3],
            "voxel_mm": [8.0, 9.0, 10.0, 12.0],
        }.items()
    }
    space = space_of(parameters)
    assert len(recipes_of(space)) == 1000
    spatial = recipes_of(space, ("preprocessing.drop_initial_volumes", "preprocessing.voxel_mm"))
    assert len(spatial) == 16
    assert isinstance(spatial[0], PreprocessingConfig)
