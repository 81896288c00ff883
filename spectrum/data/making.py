"""How a set is made, in tasks: its runs, a look at images of no run of it, one file a subject.

Not here: how tasks are spread (``fan_out``), what a worker does with a run (``pieces``), and when
a set is made and under which name (``pipeline``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

from spectrum.config.frozen import FrozenConfig
from spectrum.data.digests import DigestCache
from spectrum.data.fan_out import Task, fan_out
from spectrum.data.inputs import Digests, RefusedRun, cached_digests, measured_digests
from spectrum.data.manifest import Refusal, ShardRun
from spectrum.data.pieces import RunJob, RunOutcome, finish_run, piece_path
from spectrum.data.quarantine import refusal_of_killer, remember_killers
from spectrum.data.set_plan import MadeRun, SetPlan, is_linked, take_over
from spectrum.data.set_sizes import check_room
from spectrum.data.shards import RunSource, shard_name, write_shard
from spectrum.data.voxel_digests import (
    VOXELS_NAME,
    Look,
    LookJob,
    look_at,
    read_voxel_digests,
    voxels_of_run,
    write_voxel_digests,
)
from spectrum.entities import RunKey
from spectrum.errors import ShardError
from spectrum.owners import aside_path
from spectrum.storage import OF_COMMAND, Patience

__all__ = ["Making", "OnRunDone", "RunsMade", "make_runs", "write_files"]

PASSING_CODES: Final = frozenset({"out-of-memory", "unreadable"})
"""Codes of refusals that tell of the machine and not of the run: a later try may go well."""

OnRunDone = Callable[[int, int], None]
RunMaker = Callable[[RunJob], RunOutcome]
Looker = Callable[[LookJob], Look]


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How runs are made, whatever is made of them.

    ``cpus_per_run`` are the CPUs that each task asks Ray for; 0 inside an actor that holds CPUs
    itself: nothing is asked for, so nothing is waited for. ``retry`` tries runs again that ended
    their workers in an earlier call. ``make_run`` is what a worker does with a run, ``look`` what
    it does with an image of no run; both can be pickled. ``patience`` is for how long a store of
    the shard sets may be away; of a trial in full, since its search has begun long ago.
    """

    cpus_per_run: float = 1.0
    retry: bool = False
    make_run: RunMaker = finish_run
    look: Looker = look_at
    patience: Patience = OF_COMMAND


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsMade:
    """What became of the runs of a set.

    ``plan`` is the plan without the runs that ended their workers, and without those whose fault
    may pass: its set has another name than that of all runs, which is looked for next. ``made`` is
    in the order of keys; ``digests`` are those of all inputs of the plan; ``others`` gives the
    digest of the voxels of every usable run that is not made, "" where they cannot be read.
    """

    plan: SetPlan
    made: list[MadeRun]
    refused: list[RefusedRun]
    digests: Digests
    others: dict[RunKey, str]


class _FileJob(FrozenConfig):
    path: str
    shape_SHW: tuple[int, int, int]
    sources: tuple[tuple[str, int], ...]


def make_runs(plan: SetPlan, how: Making, on_run_done: OnRunDone | None) -> RunsMade:
    """Take over what is there and make the rest; look at the images that are in no run.

    Parameters
    ----------
    plan : whose folder of pieces is there
    how : CPUs, and what is done with a run
    on_run_done : told runs done and runs in all, after each run

    Raises
    ------
    ShardError
        The disk has no room for the runs that are to be made.
    """
    cache = plan.read_cache()
    jobs = plan.inputs.jobs
    known = (measured_digests if plan.has_past else cached_digests)(jobs, cache)
    made = take_over(plan, known)
    todo = [
        job.model_copy(update={"known_digests": known.get(job.name, ())})
        for job in jobs
        if job.name not in made
    ]
    check_room(plan.root, todo)
    refused: list[RefusedRun] = []
    killers: list[RunJob] = []
    passing: dict[str, Refusal] = {}
    done = len(made)
    for job, outcome in _outcomes(plan, todo, how):
        if outcome is None:
            killers.append(job)
        else:
            cache.remember(outcome.digests)
            if outcome.run is not None:
                made[job.name] = _made_run(job, outcome.run)
            elif outcome.refusal is not None and outcome.refusal.code in PASSING_CODES:
                passing[job.name] = outcome.refusal
            elif outcome.refusal is not None:
                refused.append(RefusedRun(key=job.run_key, refusal=outcome.refusal))
        done += 1
        if on_run_done is not None:
            on_run_done(done, len(jobs))
    remember_killers(plan.root, killers, cache, sound=[m.run.fingerprint for m in made.values()])
    plan = plan.without({**passing, **{job.name: refusal_of_killer(job) for job in killers}})
    digests, others = _look_at_others(plan, made, cache, how)
    return RunsMade(
        plan=plan,
        made=[made[job.name] for job in plan.inputs.jobs if job.name in made],
        refused=[*plan.inputs.refused, *refused],
        digests=digests,
        others=others,
    )


def _outcomes(
    plan: SetPlan, jobs: Sequence[RunJob], how: Making
) -> Iterator[tuple[RunJob, RunOutcome | None]]:
    for index, told in _spread(plan, partial(_make, how.make_run), jobs, how):
        yield jobs[index], None if told is None else RunOutcome.model_validate_json(told)


def _make(make_run: RunMaker, job: str) -> str:
    return make_run(RunJob.model_validate_json(job)).model_dump_json()


def _made_run(job: RunJob, run: ShardRun) -> MadeRun:
    path = piece_path(Path(job.folder), run.key, run.fingerprint)
    return MadeRun(run=run, source=RunSource(path=str(path), row_group=0))


def _look_at_others(
    plan: SetPlan, made: Mapping[str, MadeRun], cache: DigestCache, how: Making
) -> tuple[Digests, dict[RunKey, str]]:
    """Return the digests of all inputs, and those of the voxels of usable runs not made.

    An image that nobody has read is read once, in a task; one that ends its readers is taken for
    damaged, and that is remembered.
    """
    store = plan.root / VOXELS_NAME
    voxels_of = read_voxel_digests(store)
    others = [other for other in plan.inputs.digested if other.name not in made]
    paths = sorted({path.absolute() for other in others for path in other.image_paths})
    todo = [path for path in paths if cache.find(path) not in voxels_of]
    unread = []
    for path, look in _looks(plan, todo, how):
        if look is None:
            unread.append(path)
        elif look.digest is not None:
            cache.remember({look.path: look.digest})
            voxels_of.update({look.digest[2]: look.voxels} if look.voxels else {})
    digests = measured_digests(plan.inputs.digested, cache)
    cache.write_new()
    voxels_of.update({m.run.image_sha256: m.run.voxels_sha256 for m in made.values()})
    voxels_of.update({sha256: "" for path in unread if (sha256 := cache.find(path))})
    write_voxel_digests(store, voxels_of)
    return digests, {
        other.run_key: voxels_of_run(digests[other.name][: len(other.image_paths)], voxels_of)
        for other in others
    }


def _looks(
    plan: SetPlan, paths: Sequence[Path], how: Making
) -> Iterator[tuple[Path, Look | None]]:
    jobs = [LookJob(path=str(path)) for path in paths]
    for index, told in _spread(plan, partial(_look, how.look), jobs, how):
        yield paths[index], None if told is None else Look.model_validate_json(told)


def _look(look: Looker, job: str) -> str:
    return look(LookJob.model_validate_json(job)).model_dump_json()


def write_files(
    plan: SetPlan, made: Sequence[MadeRun], aside: Path, how: Making
) -> tuple[ShardRun, ...]:
    """Write one file a subject, or link one that an earlier set has.

    Parameters
    ----------
    plan : of the set
    made : its runs, in the order of their keys
    aside : where the files go
    how : CPUs

    Returns
    -------
    runs
        With their places in the files.
    """
    runs: list[ShardRun] = []
    jobs: list[_FileJob] = []
    for _, members in groupby(made, key=lambda m: (m.run.dataset, m.run.subject)):
        group = list(members)
        name = shard_name([m.run for m in group])
        runs += [
            m.run.model_copy(update={"shard": name, "row_group": index})
            for index, m in enumerate(group)
        ]
        if not is_linked(plan, name, aside):
            sources = tuple((m.source.path, m.source.row_group) for m in group)
            shape_SHW = group[0].run.shape_SHW
            jobs.append(_FileJob(path=str(aside / name), shape_SHW=shape_SHW, sources=sources))
    for index, told in _spread(plan, _write, jobs, how):
        if told is None:
            raise ShardError(
                f"Every worker died that wrote {Path(jobs[index].path).name}, a file of the set. "
                "Finished runs are kept; free memory, look at the disk, and start again."
            )
    return tuple(runs)


def _write(job: str) -> str:
    file = _FileJob.model_validate_json(job)
    sources = [RunSource(path=path, row_group=index) for path, index in file.sources]
    write_shard(Path(file.path), file.shape_SHW, sources)
    return "written"


def _spread(
    plan: SetPlan, task: Task, jobs: Sequence[FrozenConfig], how: Making
) -> Iterator[tuple[int, str | None]]:
    """Do jobs in tasks; notes of attempts are kept no longer than that."""
    notes = aside_path(plan.pieces / "attempts")
    try:
        yield from fan_out(
            task,
            jobs,
            notes=notes,
            cpus_per_task=how.cpus_per_run,
            stays=plan.is_of_one_node,
        )
    finally:
        shutil.rmtree(notes, ignore_errors=True)
