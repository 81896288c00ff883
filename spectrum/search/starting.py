"""Whether a study can begin in a folder, or go on there.

Not here: what it begins with (``study``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from spectrum.errors import SearchError
from spectrum.search.first_points import check_sources, enqueued_points
from spectrum.search.folder import StudyFolder
from spectrum.search.machines import await_first_place
from spectrum.search.placement import nodes_of_cluster, place_trials, worker_counts
from spectrum.search.space import SearchSpace
from spectrum.storage import told_place
from spectrum.storage.generations import BOOK_NAME

__all__ = ["await_places", "check_start"]

LEFTOVER: Final = re.compile(
    r"\.lock|(folds|floor|images|sealed)\.json"
    r"|\.(folds|floor|images|sealed|study)\.json\.(part|\d+)"
)
"""Files that a start leaves which failed, or was killed, before study.json: whole ones, and those
written aside."""

FOR_AUTOSCALERS: Final = "Where an autoscaler brings machines, set study.concurrent_trials."


def check_start(
    study: StudyFolder, space: SearchSpace, *, resume: bool, fork: Path | None
) -> None:
    """Raise an error where a search cannot begin or go on; nothing was written then."""
    space.check()
    enqueued_points(space)
    _refuse_wrong_start(study, resume=resume, fork=fork)
    if not study.exists:
        check_sources(space, fork)
        _refuse_without_place(space)
        await_places(space)


def await_places(space: SearchSpace) -> None:
    """Wait for room for a trial where more machines may come; raise an error where none did."""
    await_first_place(worker_counts(space), space.study.gpus_per_worker, space.study)


def _refuse_without_place(space: SearchSpace) -> None:
    """Raise an error where a trial has no room in a cluster as it is."""
    if space.study.concurrent_trials is not None:
        return
    nodes = nodes_of_cluster()
    try:
        place_trials(nodes, worker_counts(space), space.study.gpus_per_worker)
    except SearchError as err:
        is_one_machine = len(nodes) == 1 and nodes[0].cpus > 0
        more = "" if is_one_machine else f" {FOR_AUTOSCALERS}"
        raise SearchError(f"{err}{more}") from err


def _refuse_wrong_start(study: StudyFolder, *, resume: bool, fork: Path | None) -> None:
    place = told_place(study.path)
    if resume and fork is not None:
        raise SearchError(
            "A study is forked when it begins, and continued as it is. Give --fork or --resume, "
            "not both."
        )
    if resume and not study.path.is_dir():
        raise SearchError(
            f"There is no study at {place}. Leave --resume away to begin it, or give the "
            "name of one that was begun."
        )
    if resume and not study.exists:
        raise SearchError(
            f"No study was begun at {place}: it holds no study.json. Leave --resume away."
        )
    if not resume and not _is_free(study):
        raise SearchError(
            f"{place} exists already. Continue it with --resume, or give this search "
            "another --name."
        )


def _is_free(study: StudyFolder) -> bool:
    """Tell whether a study can begin here; a start that failed leaves no more than these files."""
    if not study.path.is_dir():
        return True
    names = (path.name for path in study.path.iterdir())
    return all(name == BOOK_NAME or LEFTOVER.fullmatch(name) for name in names)
