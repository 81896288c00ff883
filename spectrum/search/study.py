"""A study from its first trial to its result: begin or resume, run, close.

Not here: what runs where (``tune_adapters``), what is written when (``driver``), and what a trial
does (``objective``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from spectrum.data.folds import write_folds
from spectrum.data.holders import mark_held
from spectrum.data.seals import Seal
from spectrum.errors import LeakageError, SpectrumError
from spectrum.search.driver import StudyDriver
from spectrum.search.first_points import first_trials
from spectrum.search.folder import StudyFolder
from spectrum.search.forking import parent_of
from spectrum.search.held_sets import sets_held
from spectrum.search.images import IMAGES_NAME, seen_images
from spectrum.search.ladders import (
    LADDER_NAME,
    begin_ladder,
    fit_linear,
    ladder_scores,
    read_ladder,
)
from spectrum.search.manifest import build_manifest, refuse_change
from spectrum.search.objective import SharedInputs, StudyObjective
from spectrum.search.placement import nodes_of_cluster, worker_counts
from spectrum.search.plan import plan_study
from spectrum.search.preparation import OnStep, Preparation, prepare_study, tell_no_step
from spectrum.search.result import StudyResult
from spectrum.search.sealing import (
    SEALED_NAME,
    begin_seal,
    check_unseen,
    read_seal,
    seal_notes,
    told_seal,
)
from spectrum.search.selection import best_line
from spectrum.search.shared_storage import check_nodes_see
from spectrum.search.space import SearchSpace
from spectrum.search.starting import await_places, check_start
from spectrum.search.status import StudyStatus
from spectrum.search.stored import stored_study
from spectrum.search.tracker import Tracker
from spectrum.storage import address_of

__all__ = ["StudyResult", "plan_study", "run_study"]

TrackerMaker = Callable[[], Tracker]
Progress = Callable[[int, int], None]
ShowStatus = Callable[[StudyStatus], None]


def run_study(  # noqa: PLR0913 - what a search is asked for, one name each
    space: SearchSpace,
    *,
    roots: Sequence[Path],
    shards_root: Path,
    folder: Path,
    make_tracker: TrackerMaker,
    num_trials: int | None = None,
    max_concurrent: int | None = None,
    resume: bool = False,
    fork: Path | None = None,
    on_progress: Progress | None = None,
    on_status: ShowStatus | None = None,
    on_step: OnStep = tell_no_step,
    clock: Callable[[], float] = time.monotonic,
) -> StudyResult:
    """Search a space over BIDS trees, on the Ray that this process is connected to.

    Parameters
    ----------
    space : what is searched, around which default
    roots : BIDS trees
    shards_root : folder of all shard sets
    folder : of the study; its name is the study's
    make_tracker : returns what follows the trials, once the study's folder is there
    num_trials : of the whole study; None is what the study was asked for before, or the space's
    max_concurrent : trials at a time, at most; None is what the space's settings say
    resume : continue the study of this folder; refused with the differences where space, data or
        code are not the same
    fork : folder of a study from whose trials this one begins; space, data and code may differ
    on_progress : told trials ended and trials in all, after each trial
    on_status : told what the search is doing, after each epoch and each trial
    on_step : told how far what comes before the first trial is
    clock : seconds, monotonic

    Raises
    ------
    SearchError
        The folder is taken or is no study, inputs changed, a trial needs more than the cluster
        has, a node does not see the folders, the failure budget is spent, or a signal came.
    LeakageError
        A trial found a group on two sides of a fold.
    """
    begin = clock()
    study = StudyFolder(folder)
    data = _Data(roots=roots, shards_root=shards_root, on_step=on_step)
    unstored: list[str] = []
    with stored_study(study, unstored.append, resume=resume):
        check_start(study, space, resume=resume, fork=fork)
        with study.locked():
            _check_nodes(study, data)
            prepared = _open(study, space, data, num_trials, fork)
            study.check_files()
            floor = study.read("floor.json")
            tracker = make_tracker()
            driver = _drive(study, space, tracker, num_trials)
            try:
                if num_left := driver.num_left:
                    _await_machines(study, space, data)
                    prepared = prepared or _prepare_again(study, space, data, num_left)
                    driver.notes += _climb(study, prepared, on_step)
                    shown = on_status and _with_floor(on_status, floor, ladder_scores(study.path))
                    _run(study, prepared, driver, shards_root, max_concurrent, on_progress, shown)
                else:
                    driver.notes += [_nothing_left(driver), *_climb_late(study, space, data)]
            finally:
                try:
                    _close(study, driver)
                finally:
                    tracker.close()
    return StudyResult(
        study=study.path,
        lines=driver.lines,
        selection=driver.selection,
        objectives=space.study.objectives,
        floor=floor,
        ladder=read_ladder(folder),
        seconds=clock() - begin,
        refused=prepared.refused if prepared else (),
        seal=told_seal(study.path),
        notes=(
            *(prepared.notes if prepared else ()),
            *seal_notes(study.path),
            *driver.notes,
            *unstored,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    """Where the data of a session lie, and who is told how far reading them is."""

    roots: Sequence[Path]
    shards_root: Path
    on_step: OnStep


def _check_nodes(study: StudyFolder, data: _Data) -> None:
    folders = (study.path, data.shards_root)
    addresses = [address for path in folders if (address := address_of(path))]
    check_nodes_see([path for path in folders if not address_of(path)], data.roots, addresses)


def _await_machines(study: StudyFolder, space: SearchSpace, data: _Data) -> None:
    """Wait for a trial's place where machines may come, and have those that came be checked."""
    if space.study.concurrent_trials is not None:
        await_places(space)
        _check_nodes(study, data)


def _nothing_left(driver: StudyDriver) -> str:
    num_done, asked = len(driver.lines), driver.num_trials
    which = f"All {num_done}" if num_done >= asked else f"{num_done} of {asked}"
    return (
        f"{which} trials are done; nothing was run, nor the data compared with those of the study."
    )


def _open(
    study: StudyFolder,
    space: SearchSpace,
    data: _Data,
    num_trials: int | None,
    fork: Path | None,
) -> Preparation | None:
    """Begin a study, study.json as the last file; or check the space of one that was begun."""
    if study.exists:
        refuse_change(study.read_manifest(), space, None)
        return None
    seal = begin_seal(space, data.roots, data.shards_root)
    check_unseen(seal, [*([fork] if fork else []), *map(Path, space.study.warm_start)])
    prepared = _prepared(space, data, num_trials, seal)
    # Read again when the journal is begun; what is wrong with them must not cost the name.
    first_trials(space, data=prepared.fingerprints, parent=fork)
    write_folds(prepared.fold_manifest, study.folds)
    data.on_step("Measuring the floor", 0, 1)
    study.write("floor.json", prepared.measure_floor())
    data.on_step("Measuring the floor", 1, 1)
    study.write(IMAGES_NAME, seen_images(prepared.shards.manifest))
    written = ["folds.json", "floor.json", IMAGES_NAME]
    if seal is not None:
        study.write(SEALED_NAME, seal.to_json())
        written.append(SEALED_NAME)
    manifest = build_manifest(
        space,
        name=study.path.name,
        data=prepared.fingerprints,
        refused=prepared.refused,
        files=study.digests_of(*written),
        parent=parent_of(fork, space, prepared.fingerprints) if fork else None,
    )
    study.write_manifest(manifest)
    return prepared


def _prepared(
    space: SearchSpace, data: _Data, num_trials: int | None, seal: Seal | None
) -> Preparation:
    return prepare_study(
        space,
        data.roots,
        shards_root=data.shards_root,
        num_trials=num_trials,
        seal=seal,
        on_step=data.on_step,
    )


def _drive(
    study: StudyFolder, space: SearchSpace, tracker: Tracker, num_trials: int | None
) -> StudyDriver:
    manifest = study.read_manifest()
    parent = manifest.get("parent")
    return StudyDriver(
        study,
        space,
        tracker,
        num_trials=_budget(study, space, num_trials),
        first=lambda: first_trials(
            space, data=manifest["data"], parent=Path(parent["study"]) if parent else None
        ),
    )


def _prepare_again(
    study: StudyFolder, space: SearchSpace, data: _Data, num_left: int
) -> Preparation:
    prepared = _prepared(space, data, num_left, read_seal(study.path))
    refuse_change(study.read_manifest(), space, prepared.fingerprints)
    return prepared


def _budget(study: StudyFolder, space: SearchSpace, num_trials: int | None) -> int:
    """Return the trials that the study is asked for, and remember a new number."""
    stored = study.read_checked("budget.json")["num_trials"] if study.has("budget.json") else None
    asked = num_trials or stored or space.study.num_trials
    if asked != stored:
        study.write_checked("budget.json", {"num_trials": asked})
    return int(asked)


def _run(  # noqa: PLR0913 - the parts of a session, one name each
    study: StudyFolder,
    prepared: Preparation,
    driver: StudyDriver,
    shards_root: Path,
    max_concurrent: int | None,
    on_progress: Progress | None,
    on_status: ShowStatus | None,
) -> None:
    from spectrum.search.gpu_share import choose_share, idle_limit, machines_note, probe_memory
    from spectrum.search.tune_adapters import run_trials
    from spectrum.training.node_copies import NodeCopies

    # Held here, the copy of this node outlives the trials that read it.
    copies = NodeCopies()
    if prepared.space.default_config.training.feeding in ("auto", "node"):
        copies.start()
    with sets_held(study, shards_root.resolve(), driver.notes.append) as holder:
        shared = SharedInputs(
            table=prepared.table,
            target=prepared.target,
            shards_root=shards_root.resolve(),
            folds=study.folds,
            folds_sha256=study.digests_of(study.folds.name)[study.folds.name],
            trials=study.trials,
            disk_bytes=prepared.space.study.disk_bytes,
            holder=holder,
            study_at=address_of(study.path) or "",
            shards_at=address_of(shards_root) or "",
        )
        mark_held(shared.shards_root, holder, prepared.shards.path)
        nodes, settings = nodes_of_cluster(), prepared.space.study
        share, note = choose_share(
            settings.gpus_per_worker,
            nodes,
            partial(probe_memory, shared, prepared.space.default_config),
        )
        more = (idle_limit(settings.max_gpu_hours, nodes), machines_note(settings, nodes))
        driver.notes += [told for told in (note, *more) if told]
        run_trials(
            driver,
            partial(StudyObjective, shared),
            folder=study,
            max_concurrent=max_concurrent,
            gpus_per_worker=share,
            workers=worker_counts(prepared.space),
            settings=settings,
            on_progress=on_progress,
            on_status=on_status,
        )


def _climb(study: StudyFolder, prepared: Preparation, on_step: OnStep) -> tuple[str, ...]:
    """Fit the ladder before the first trial, or where a kill came before it was kept."""
    if prepared.space.study.ladder == "none":
        return ()
    content_hash = prepared.shards.manifest.content_hash
    fit = partial(
        fit_linear,
        prepared.shards,
        prepared.target,
        prepared.space.default_config,
        prepared.folds,
        partial(on_step, "Fitting the ladder"),
    )
    return begin_ladder(study.path, fit, content_hash=content_hash)


def _climb_late(study: StudyFolder, space: SearchSpace, data: _Data) -> tuple[str, ...]:
    """Fit the ladder of a study that was over before it had one; why not is a sentence."""
    if space.study.ladder == "none" or study.has(LADDER_NAME):
        return ()
    try:
        prepared = _prepare_again(study, space, data, num_left=1)
    except LeakageError:
        raise
    except SpectrumError as err:
        return (f"No ladder of simpler models was fitted. {err}",)
    return _climb(study, prepared, data.on_step)


def _with_floor(
    show: ShowStatus, floor: Mapping[str, Any], ladder: Mapping[str, float] | None
) -> ShowStatus:
    value, rungs = floor["floor"]["value"], ladder or {}
    return lambda status: show(replace(status, floor=value, ladder=rungs))


def _close(study: StudyFolder, driver: StudyDriver) -> None:
    """Write what others read without going through all trials: the default's score, the best."""
    lines = driver.lines
    driver.close()
    if 0 in lines:
        default = {name: lines[0][name] for name in ("state", "score", "folds", "config", "error")}
        study.write("default.json", default)
    best = best_line(lines, driver.selection)
    if best is not None:
        study.write_best(best)
