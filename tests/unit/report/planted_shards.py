"""A finished shard set of a tiny tree, made in this process, without Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.inputs import measured_digests, select_inputs
from spectrum.data.manifest import write_manifest
from spectrum.data.pieces import finish_run, piece_path
from spectrum.data.pipeline import find_shards
from spectrum.data.runs import RunTable
from spectrum.data.set_plan import SetPlan, describe_set
from spectrum.data.shards import RunSource, ShardSet, shard_name, write_shard

RECIPE = PreprocessingConfig(grid="native", drop_initial_volumes=1, fwhm_mm=0.0, high_pass_hz=0.0)


def plant_shards(
    roots: list[Path], shards_root: Path, recipe: PreprocessingConfig = RECIPE
) -> tuple[ShardSet, RunTable]:
    """Make every run of some trees and put each into a file of its own."""
    table = index_bids(roots)
    shards_root.mkdir(parents=True, exist_ok=True)
    root = shards_root.absolute()
    plan = SetPlan(root=root, inputs=select_inputs(table, recipe, None, root / ".pieces-x"))
    plan.pieces.mkdir(exist_ok=True)
    (root / ".pieces-x").mkdir(exist_ok=True)
    cache = plan.read_cache()
    digests = measured_digests(plan.inputs.digested, cache)
    cache.write_new()
    inputs = plan.inputs.fingerprint(digests)
    folder = plan.folder(inputs)
    folder.mkdir()
    runs = []
    for job in plan.inputs.jobs:
        outcome = finish_run(job)
        assert outcome.run is not None, outcome.refusal
        name = shard_name([outcome.run])
        source = piece_path(Path(job.folder), outcome.run.key, outcome.run.fingerprint)
        sources = [RunSource(path=str(source), row_group=0)]
        write_shard(folder / name, outcome.run.shape_SHW, sources)
        runs.append(outcome.run.model_copy(update={"shard": name}))
    write_manifest(describe_set(plan, tuple(runs), (), inputs), folder)
    assert find_shards(table, recipe, shards_root) is not None
    return ShardSet.open(folder), table


def without_run(shards: ShardSet, index: int) -> ShardSet:
    """A set that lacks one run, as it was before that was added."""
    runs = shards.manifest.runs
    fewer = runs[:index] + runs[index + 1 :]
    return replace(shards, manifest=shards.manifest.model_copy(update={"runs": fewer}))
