"""A shard set from a run table: found, or made by one process while all others wait.

The set appears under its name in one rename, with all its files. Runs that an earlier set of the
recipe holds, or an earlier call has finished, are taken over from there. Not here: the tasks that
make runs and files (``making``) and what a file looks like (``shards``).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectrum.config import PreprocessingConfig
from spectrum.data.duplicates import people_notes
from spectrum.data.holders import holding, mark_held
from spectrum.data.inputs import measured_digests, select_inputs
from spectrum.data.making import Making, OnRunDone, make_runs, write_files
from spectrum.data.manifest import ShardRun, write_manifest
from spectrum.data.quarantine import killers_among, refusal_of_killer
from spectrum.data.recipe import recipe_fingerprint
from spectrum.data.runs import Problem, RunTable, shortened
from spectrum.data.set_plan import (
    SetPlan,
    common_shape,
    describe_set,
    no_runs,
    other_shape,
    publish,
    without_copies,
)
from spectrum.data.set_storage import SetStorage, discard, is_whole
from spectrum.data.shards import ShardSet, check_environment
from spectrum.data.single_flight import remove_abandoned_lock, single_flight
from spectrum.data.store import mark_used
from spectrum.errors import ShardError
from spectrum.owners import aside_path, remove_abandoned
from spectrum.targets import Target

__all__ = ["Making", "PrepareResult", "find_shards", "prepare"]

AS_USUAL: Final = Making()


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


def prepare(
    table: RunTable,
    recipe: PreprocessingConfig,
    *,
    shards_root: Path,
    on_run_done: OnRunDone | None = None,
    target: Target | None = None,
    how: Making = AS_USUAL,
) -> PrepareResult:
    """Return the shard set of a recipe over the runs of a table, making what is not there yet.

    Parameters
    ----------
    table : the runs
    recipe : what is done to each
    shards_root : folder of all shard sets; made where it is not there
    on_run_done : told runs done and runs in all, after each run
    target : limits the runs to those that it labels; None takes all
    how : CPUs of a task, and whether runs are tried again that ended their workers

    Raises
    ------
    DataError
        ``no-runs`` where no run is left; a single bad run is refused by name instead, and so is
        one that ended every worker that tried it (``killed-its-worker``). One whose fault may
        pass (``out-of-memory``, ``unreadable``) is refused too, and tried again by the next call.
    ShardError
        A task failed, the folder cannot be written to, or Ray Data was told to unpickle.
    LaunchError
        Ray is not started.
    """
    begin = time.monotonic()
    check_environment(os.environ)
    selected = _select(table, recipe, shards_root, target)
    found, reused = _find(_without_killers(selected, how.retry)), True
    if found is None:
        with _told_of_disk(selected.root):
            found, reused = _find_or_make(selected, how, on_run_done)
    else:
        remove_abandoned(selected.root, ".aside-*")
        remove_abandoned_lock(selected.lock)
    if storage := SetStorage.of(selected.root, how.patience):
        storage.keep(found.path)
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
    *,
    retry: bool = False,
) -> Path | None:
    """Return the finished set for exactly these inputs and this recipe; None without one.

    With ``retry`` a set that lacks runs because they ended their workers is not the one.
    """
    found = _find(_without_killers(_select(table, recipe, shards_root, target), retry))
    return None if found is None else found.path


def _select(
    table: RunTable, recipe: PreprocessingConfig, root: Path, target: Target | None
) -> SetPlan:
    pieces = root.absolute() / f".pieces-{recipe_fingerprint(recipe)[:16]}"
    return SetPlan(root=root.absolute(), inputs=select_inputs(table, recipe, target, pieces))


def _without_killers(plan: SetPlan, retry: bool) -> SetPlan:
    """Refuse the runs that ended their workers in an earlier call, unless they are tried again."""
    if retry:
        return plan
    cache = plan.read_cache()
    killers = killers_among(plan.inputs, plan.root, cache)
    with suppress(OSError):
        cache.write_new()
    return plan.without({job.name: refusal_of_killer(job) for job in killers})


def _find(plan: SetPlan) -> ShardSet | None:
    """Look for the set; files are read only where a set exists and a digest is not known."""
    if not plan.earlier_sets:
        return None
    folder = plan.folder(plan.inputs.fingerprint(_digests(plan)))
    try:
        return ShardSet.open(folder) if is_whole(folder) else None
    except ShardError:
        return None


def _digests(plan: SetPlan) -> dict[str, tuple[str, ...]]:
    """Return the digests of the runs' files; those that are not known are read."""
    cache = plan.read_cache()
    digests = measured_digests(plan.inputs.digested, cache)
    with suppress(OSError):
        cache.write_new()
    return digests


def _find_or_make(
    selected: SetPlan, how: Making, on_run_done: OnRunDone | None
) -> tuple[ShardSet, bool]:
    """Make the set, or wait for who makes it; tell whether it was there."""
    selected.root.mkdir(parents=True, exist_ok=True)
    with single_flight(selected.lock):
        plan = _without_killers(selected, how.retry)
        found = _find(plan)
        if found is not None:
            return found, True
        storage = SetStorage.of(plan.root, how.patience)
        if storage is None:
            return _make_or_find(selected, plan, how, on_run_done)
        with storage.making(plan.recipe_name):
            found = _fetch(plan, storage)
            if found is not None:
                return found, True
            for folder in plan.earlier_sets:
                # Nothing is taken over from a damaged copy.
                if not is_whole(folder):
                    discard(folder)
            made, reused = _make_or_find(selected, plan, how, on_run_done)
            # Before others may make it.
            storage.keep(made.path)
            return made, reused


def _make_or_find(
    selected: SetPlan, plan: SetPlan, how: Making, on_run_done: OnRunDone | None
) -> tuple[ShardSet, bool]:
    try:
        with _earlier_held(plan):
            return _make_set(plan, how, on_run_done), False
    except (ShardError, OSError):
        found = _find(_without_killers(selected, how.retry))
        if found is None:
            raise
        return found, True


def _fetch(plan: SetPlan, storage: SetStorage) -> ShardSet | None:
    """Fetch the set from the store, where another machine has made it."""
    if not storage.has_any(plan.recipe_name):
        return None
    folder = plan.folder(plan.inputs.fingerprint(_digests(plan)))
    return ShardSet.open(folder) if storage.fetch(folder) else None


@contextmanager
def _told_of_disk(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise ShardError(
            f"The shard set cannot be written under {root}: {err}. "
            "Look at the path, the free space and the permissions; finished runs are kept."
        ) from err


@contextmanager
def _earlier_held(plan: SetPlan) -> Iterator[None]:
    """Hold the sets whose runs are taken over, so that no study's budget removes them."""
    earlier = plan.earlier_sets
    if not earlier:
        yield
        return
    with holding(plan.root, f"prepare {plan.recipe_name[:8]}") as holder:
        for folder in earlier:
            mark_held(plan.root, holder, folder)
        yield


def _make_set(plan: SetPlan, how: Making, on_run_done: OnRunDone | None) -> ShardSet:
    remove_abandoned(plan.root, ".aside-*")
    plan.pieces.mkdir(exist_ok=True)
    remove_abandoned(plan.pieces)
    runs = make_runs(plan, how, on_run_done)
    plan = runs.plan
    made, copies = without_copies(runs.made, runs.others)
    shape_SHW = common_shape(made)
    others = [other_shape(m.run, shape_SHW) for m in made if m.run.shape_SHW != shape_SHW]
    refused = sorted([*runs.refused, *copies, *others], key=lambda r: r.key)
    kept = [m for m in made if m.run.shape_SHW == shape_SHW]
    if not kept:
        raise no_runs(refused)
    inputs = plan.inputs.fingerprint(runs.digests)
    aside = aside_path(plan.root / f"aside-{plan.recipe_name}")
    aside.mkdir()
    try:
        written = write_files(plan, kept, aside, how)
        refusals = tuple(r.refusal for r in refused)
        write_manifest(describe_set(plan, written, refusals, inputs), aside)
        folder = publish(aside, plan.folder(inputs))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    shutil.rmtree(plan.pieces, ignore_errors=True)
    return ShardSet.open(folder)
