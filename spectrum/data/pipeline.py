"""Make a shard set from a run table, with Ray Data: one task a run, one task a subject.

The set appears under its name in one rename, with all its files; whoever wants the same set at the
same time waits for it. Runs that an earlier set of the recipe holds are taken over from there. Not
here: what a worker does with a run (``pieces``) and what a file looks like (``shards``).
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from spectrum.config import PreprocessingConfig
from spectrum.config.frozen import FrozenConfig
from spectrum.data.duplicates import people_notes
from spectrum.data.echoes import joined_digest
from spectrum.data.inputs import (
    RefusedRun,
    cached_digests,
    measured_digests,
    select_inputs,
)
from spectrum.data.manifest import ShardRun, write_manifest
from spectrum.data.pieces import RunJob, RunOutcome, finish_run, piece_path
from spectrum.data.recipe import recipe_fingerprint
from spectrum.data.runs import Problem, RunTable, shortened
from spectrum.data.set_plan import (
    MadeRun,
    SetPlan,
    common_shape,
    describe_set,
    is_linked,
    no_runs,
    other_shape,
    publish,
    take_over,
    without_copies,
)
from spectrum.data.set_sizes import check_room
from spectrum.data.shards import (
    RunSource,
    ShardSet,
    check_environment,
    shard_name,
    write_shard,
)
from spectrum.data.single_flight import single_flight
from spectrum.data.store import mark_used
from spectrum.data.voxel_digests import (
    LookJob,
    look_at,
    read_voxel_digests,
    write_voxel_digests,
)
from spectrum.entities import RunKey
from spectrum.errors import LaunchError, ShardError
from spectrum.targets import Target

__all__ = ["PrepareResult", "find_shards", "prepare"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareResult:
    """Where the set is, what it holds, whether it was there before, and what to know of it."""

    shards: Path
    fingerprint: str
    num_runs: int
    num_volumes: int
    refused: tuple[Problem, ...]
    reused: bool
    seconds: float
    notes: tuple[str, ...] = ()


class _ShardJob(FrozenConfig):
    path: str
    shape_SHW: tuple[int, int, int]
    sources: tuple[tuple[str, int], ...]


def prepare(
    table: RunTable,
    recipe: PreprocessingConfig,
    *,
    shards_root: Path,
    cpus_per_run: float = 1.0,
    on_run_done: Progress | None = None,
    target: Target | None = None,
) -> PrepareResult:
    """Return the shard set of a recipe over the runs of a table, making what is not there yet.

    Parameters
    ----------
    table : the runs
    recipe : what is done to each
    shards_root : folder of all shard sets; made where it is not there
    cpus_per_run : CPUs that each task asks Ray for
        0 inside an actor that holds CPUs itself: nothing is asked for, so nothing is waited for.
    on_run_done : told runs done and runs in all, after each run
    target : limits the runs to those that it labels; None takes all

    Raises
    ------
    DataError
        ``no-runs`` where no run is left; a single bad run is refused by name instead.
    ShardError
        A worker was lost, the disk is full, or Ray Data was told to unpickle.
    LaunchError
        Ray is not started.
    """
    begin = time.monotonic()
    check_environment(os.environ)
    plan = _plan(table, recipe, shards_root, target)
    found = _find(plan)
    reused = found is not None
    if found is None:
        shards_root.mkdir(parents=True, exist_ok=True)
        with single_flight(shards_root / f".{plan.recipe_name}.lock"):
            found = _find(plan)
            reused = found is not None
            found = found or _make_set(plan, cpus_per_run, on_run_done)
    mark_used(found.path)
    manifest = found.manifest
    return PrepareResult(
        shards=found.path,
        fingerprint=manifest.fingerprint,
        num_runs=len(manifest.runs),
        num_volumes=manifest.num_volumes,
        refused=tuple(Problem(**r.model_dump(), refuses=True) for r in manifest.refused),
        reused=reused,
        seconds=time.monotonic() - begin,
        notes=(*recipe.warnings, *_notes(manifest.runs)),
    )


def _notes(runs: Sequence[ShardRun]) -> tuple[str, ...]:
    """Return a sentence for each person with several names, and for each odd image."""
    findings = ((f.code, f"{run.key}: {f.message}") for run in runs for f in run.findings)
    return (*people_notes((run.person, run.key.group) for run in runs), *shortened(findings))


def find_shards(
    table: RunTable,
    recipe: PreprocessingConfig,
    shards_root: Path,
    target: Target | None = None,
) -> Path | None:
    """Return the finished set for exactly these inputs and this recipe; None without one."""
    found = _find(_plan(table, recipe, shards_root, target))
    return None if found is None else found.path


def _plan(
    table: RunTable, recipe: PreprocessingConfig, root: Path, target: Target | None
) -> SetPlan:
    pieces = root.absolute() / f".pieces-{recipe_fingerprint(recipe)[:16]}"
    return SetPlan(root=root.absolute(), inputs=select_inputs(table, recipe, target, pieces))


def _find(plan: SetPlan) -> ShardSet | None:
    """Look for the set; files are read only where a set exists and a digest is not known."""
    if not plan.earlier_sets:
        return None
    cache = plan.read_cache()
    digests = measured_digests(plan.inputs.digested, cache)
    with suppress(OSError):
        cache.write_new()
    try:
        return ShardSet.open(plan.folder(plan.inputs.fingerprint(digests)))
    except ShardError:
        return None


def _make_set(plan: SetPlan, cpus_per_run: float, on_run_done: Progress | None) -> ShardSet:
    plan.pieces.mkdir(exist_ok=True)
    made, refused, digests = _make_runs(plan, cpus_per_run, on_run_done)
    made, copies = without_copies(made, _other_voxels(plan, made, digests, cpus_per_run))
    refused += copies
    shape_SHW = common_shape(made)
    refused += [other_shape(m.run, shape_SHW) for m in made if m.run.shape_SHW != shape_SHW]
    kept = [m for m in made if m.run.shape_SHW == shape_SHW]
    if not kept:
        raise no_runs(refused)
    inputs = plan.inputs.fingerprint(digests)
    aside = plan.root / f".aside-{plan.recipe_name}-{uuid.uuid4().hex}"
    aside.mkdir()
    try:
        runs = _assemble(plan, kept, aside, cpus_per_run)
        refusals = tuple(r.refusal for r in sorted(refused, key=lambda r: r.key))
        write_manifest(describe_set(plan, runs, refusals, inputs), aside)
        folder = publish(aside, plan.folder(inputs))
    except OSError as err:
        raise ShardError(
            f"The shard set cannot be written under {plan.root}: {err}. "
            "Look at the free space and the permissions; finished runs are kept."
        ) from err
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(plan.pieces, ignore_errors=True)
    return ShardSet.open(folder)


def _make_runs(
    plan: SetPlan, cpus_per_run: float, on_run_done: Progress | None
) -> tuple[list[MadeRun], list[RefusedRun], dict[str, tuple[str, ...]]]:
    """Take over what is there, make the rest; return runs, refusals and digests."""
    cache = plan.read_cache()
    jobs = plan.inputs.jobs
    known = (measured_digests if plan.has_past else cached_digests)(jobs, cache)
    made = take_over(plan, known)
    refused = list(plan.inputs.refused)
    todo = {
        job.name: job.model_copy(update={"known_digests": known.get(job.name, ())})
        for job in jobs
        if job.name not in made
    }
    check_room(plan.root, list(todo.values()))
    done = len(made)
    for name, outcome in _outcomes(list(todo.values()), cpus_per_run):
        job = todo[name]
        cache.remember(outcome.digests)
        if outcome.run is not None:
            path = piece_path(Path(job.folder), outcome.run.key, outcome.run.fingerprint)
            made[name] = MadeRun(run=outcome.run, source=RunSource(path=str(path), row_group=0))
        elif outcome.refusal is not None:
            refused.append(RefusedRun(key=job.run_key, refusal=outcome.refusal))
        done += 1
        if on_run_done is not None:
            on_run_done(done, len(jobs))
    digests = measured_digests(plan.inputs.digested, cache)
    cache.write_new()
    return [made[job.name] for job in jobs if job.name in made], refused, digests


def _other_voxels(
    plan: SetPlan,
    made: Sequence[MadeRun],
    digests: Mapping[str, tuple[str, ...]],
    cpus_per_run: float,
) -> dict[RunKey, str]:
    """Return the digest of the voxels of every usable run that is not made; look where needed."""
    store = plan.root / "voxels.json"
    voxels_of = read_voxel_digests(store)
    names = {str(m.run.key) for m in made}
    others = [other for other in plan.inputs.digested if other.name not in names]
    todo = {
        path
        for other in others
        for path, sha256 in zip(other.image_paths, digests[other.name], strict=False)
        if sha256 not in voxels_of
    }
    for row in _run_tasks(_look_row, [LookJob(path=str(p)) for p in sorted(todo)], cpus_per_run):
        if row["voxels"]:
            voxels_of[row["sha256"]] = row["voxels"]
    voxels_of.update({m.run.image_sha256: m.run.voxels_sha256 for m in made})
    write_voxel_digests(store, voxels_of)
    return {
        other.run_key: _voxels_of(digests[other.name][: len(other.image_paths)], voxels_of)
        for other in others
    }


def _voxels_of(sha256s: Sequence[str], voxels_of: Mapping[str, str]) -> str:
    """Return one digest for the images of a run; "" where one of them cannot be read."""
    found = [voxels_of.get(sha256, "") for sha256 in sha256s]
    if not all(found):
        return ""
    return found[0] if len(found) == 1 else joined_digest(found)


def _look_row(row: dict[str, Any]) -> dict[str, Any]:
    return look_at(LookJob.model_validate_json(row["item"]))


def _assemble(
    plan: SetPlan, made: Sequence[MadeRun], aside: Path, cpus_per_run: float
) -> tuple[ShardRun, ...]:
    """Write one file per subject, or link one that an earlier set has; return runs with places."""
    runs: list[ShardRun] = []
    jobs: list[_ShardJob] = []
    for _, members in groupby(made, key=lambda m: (m.run.dataset, m.run.subject)):
        group = list(members)
        name = shard_name([m.run for m in group])
        runs += [
            m.run.model_copy(update={"shard": name, "row_group": index})
            for index, m in enumerate(group)
        ]
        if not is_linked(plan, name, aside):
            sources = tuple((m.source.path, m.source.row_group) for m in group)
            job = _ShardJob(
                path=str(aside / name), shape_SHW=group[0].run.shape_SHW, sources=sources
            )
            jobs.append(job)
    for _ in _run_tasks(_write_row, jobs, cpus_per_run):
        pass
    return tuple(runs)


def _outcomes(jobs: Sequence[RunJob], cpus_per_run: float) -> Iterator[tuple[str, RunOutcome]]:
    for row in _run_tasks(_finish_row, jobs, cpus_per_run):
        yield row["name"], RunOutcome.model_validate_json(row["outcome"])


def _finish_row(row: dict[str, Any]) -> dict[str, Any]:
    job = RunJob.model_validate_json(row["item"])
    return {"name": job.name, "outcome": finish_run(job).model_dump_json()}


def _write_row(row: dict[str, Any]) -> dict[str, Any]:
    job = _ShardJob.model_validate_json(row["item"])
    sources = [RunSource(path=path, row_group=index) for path, index in job.sources]
    write_shard(Path(job.path), job.shape_SHW, sources)
    return {"path": job.path}


def _run_tasks(
    function: Callable[[dict[str, Any]], dict[str, Any]],
    jobs: Sequence[FrozenConfig],
    cpus_per_run: float,
) -> Iterator[dict[str, Any]]:
    """Send each job to a task of its own; yield small rows as they come."""
    if not jobs:
        return
    import ray

    if not ray.is_initialized():
        raise LaunchError("Ray is not started. Start or join it before shards are made.")
    import ray.data
    from ray.exceptions import RayError

    items = [job.model_dump_json() for job in jobs]
    with _quiet():
        rows = ray.data.from_items(items, override_num_blocks=len(items)).map(
            function, num_cpus=cpus_per_run, compute=_pool(cpus_per_run)
        )
        try:
            yield from rows.iter_rows()
        except RayError as err:
            raise ShardError(
                f"A worker failed: {' '.join(str(err).split())[-300:]}. "
                "Finished runs are kept; look at memory and disk, and start again."
            ) from err


def _pool(cpus_per_run: float) -> Any:
    """Let Ray's CPUs bound the tasks; where none is asked for, half of the cluster's do."""
    import ray
    import ray.data

    if cpus_per_run > 0:
        return ray.data.TaskPoolStrategy()
    return ray.data.TaskPoolStrategy(size=max(1, int(ray.cluster_resources().get("CPU", 1)) // 2))


@contextmanager
def _quiet() -> Iterator[None]:
    """Run Ray Data without its bars and notes; its settings are the caller's again afterwards."""
    import ray.data

    logger = logging.getLogger("ray.data")
    context = ray.data.DataContext.get_current()
    before = (logger.level, context.enable_progress_bars, context.print_on_execution_start)
    logger.setLevel(logging.ERROR)
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield
    finally:
        logger.setLevel(before[0])
        context.enable_progress_bars, context.print_on_execution_start = before[1:]
