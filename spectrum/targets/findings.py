"""Where a target and the data at hand do not fit: rows and words that match nothing.

Pure: keys and trial types come in, sentences go out. Not here: what is wrong within a target
(``target``) or within the data (``spectrum.data.bids``).
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spectrum.entities import RunKey
from spectrum.targets.rules import EventRule, RunSelection
from spectrum.targets.target import Target

__all__ = ["TargetFinding", "num_excluded", "target_findings"]


LIKE: Final = 0.75
"""Similarity (difflib's ratio) from which a name of a data set is taken for a mistyped one.
Accessions of OpenNeuro are all alike, and are never taken so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFinding:
    """One thing that a user should know: a kebab-case code and a sentence."""

    code: str
    message: str


def num_excluded(target: Target, keys: Iterable[RunKey]) -> int:
    """Count the runs that a target leaves out on purpose."""
    return sum(target.exclusion_of(key) is not None for key in keys)


def target_findings(
    target: Target,
    keys: Collection[RunKey],
    trial_types_of: Mapping[RunKey, Collection[str]] | None = None,
) -> tuple[TargetFinding, ...]:
    """Compare a target with the runs that are there.

    Parameters
    ----------
    target : of runs or of events
    keys : all runs of the data sets at hand
    trial_types_of : run -> the trial types of its events
        Needed for a target of events; a run without an entry has no events.

    Returns
    -------
    findings : in the order of the target's rows
        ``row-without-run``: a row names a data set that is here, and no run of it;
        ``run-without-row``: runs are neither labelled nor excluded;
        ``class-without-run``, ``class-without-event``: a class that nothing here has;
        ``task-absent``, ``trial-type-absent``: a word of ``event`` that never occurs here (where
        no task does, nothing is said of the trial types).
    """
    found = [_row_without_run(*numbered, keys) for numbered in target.numbered_rows()]
    findings = [finding for finding in found if finding is not None]
    if target.event is None:
        findings += [*_runs_without_row(target, keys), *_classes_without_run(target, keys)]
    else:
        findings += _event_findings(target, target.event, keys, trial_types_of or {})
    return tuple(findings)


def _row_without_run(
    part: str, number: int, row: RunSelection, keys: Collection[RunKey]
) -> TargetFinding | None:
    in_dataset = [key for key in keys if key.dataset == row.dataset]
    if not in_dataset:
        return _mistyped_dataset(part, number, row.dataset, {key.dataset for key in keys})
    if any(row.covers(key) for key in in_dataset):
        return None
    of_task = [key for key in in_dataset if key.task == row.task]
    if not of_task:
        tasks = {key.task for key in in_dataset}
        what = f"no run of {row.dataset} here has the task {row.task!r}.{_near(row.task, tasks)}"
    else:
        what = f"no run of {row.dataset}, task {row.task}, is its {_narrower(row, of_task)}."
    return TargetFinding(code="row-without-run", message=f"Row {number} of {part}: {what}")


def _mistyped_dataset(
    part: str, number: int, dataset: str, here: Collection[str]
) -> TargetFinding | None:
    """Tell of a data set that is not here where one of almost that name is."""
    near = difflib.get_close_matches(dataset, sorted(here), n=1, cutoff=LIKE)
    if not near or re.fullmatch(r"ds\d{6}", dataset):
        return None
    return TargetFinding(
        code="row-without-run",
        message=f"Row {number} of {part}: there is no data set {dataset!r} here. "
        f"The nearest is {near[0]!r}.",
    )


def _narrower(row: RunSelection, keys: Iterable[RunKey]) -> str:
    """Write the narrower entities of a row, each with the values that occur."""
    keys = list(keys)
    asked = {
        "run": (row.run, {key.run for key in keys}),
        "session": (row.session, {key.session for key in keys}),
        "subject": (row.subject, {key.subject for key in keys}),
    }
    return " and ".join(
        f"{name} {wanted!r} (here: {', '.join(sorted(value or 'none' for value in values))})"
        for name, (wanted, values) in asked.items()
        if wanted is not None
    )


def _runs_without_row(target: Target, keys: Iterable[RunKey]) -> Iterator[TargetFinding]:
    undecided = Counter(
        (key.dataset, key.task)
        for key in keys
        if target.class_of(key) is None and target.exclusion_of(key) is None
    )
    rows = [row for _, _, row in target.numbered_rows()]
    datasets = {row.dataset for row in rows}
    for (dataset, task), count in sorted(undecided.items()):
        tasks = {row.task for row in rows if row.dataset == dataset}
        near = _near(task, tasks - {task}) if tasks else _near(dataset, datasets)
        yield TargetFinding(
            code="run-without-row",
            message=f"{count} runs of {dataset}, task {task}, are neither labelled nor excluded, "
            f"so they are not used. Add a row to rules or to excluded.{near}",
        )


def _classes_without_run(target: Target, keys: Collection[RunKey]) -> Iterator[TargetFinding]:
    present = {target.class_of(key) for key in keys}
    for name in target.classes:
        if name not in present:
            message = f"No run here has the class {name!r}, so no score can speak of it."
            yield TargetFinding(code="class-without-run", message=message)


def _event_findings(
    target: Target,
    event: EventRule,
    keys: Collection[RunKey],
    trial_types_of: Mapping[RunKey, Collection[str]],
) -> Iterator[TargetFinding]:
    tasks = {key.task for key in keys}
    for task in event.tasks:
        if task not in tasks:
            message = f"No run here has the task {task!r} of event.tasks.{_near(task, tasks)}"
            yield TargetFinding(code="task-absent", message=message)
    if event.tasks and tasks.isdisjoint(event.tasks):
        return
    counted = [key for key in keys if target.counts_events_of(key)]
    present = {word for key in counted for word in trial_types_of.get(key, ())}
    for word in event.trial_types:
        if word not in present:
            near = _near(word, present - event.trial_types.keys())
            message = f"No event here has the trial type {word!r}.{near}"
            yield TargetFinding(code="trial-type-absent", message=message)
    shown = {event.trial_types[word] for word in present & event.trial_types.keys()}
    for name in target.classes:
        if name not in shown:
            message = f"No event here has the class {name!r}, so no score can speak of it."
            yield TargetFinding(code="class-without-event", message=message)


def _near(word: str, known: Collection[str]) -> str:
    """Write which known word is like ``word``; nothing where none is."""
    lower = {name.lower(): name for name in sorted(known)}
    close = difflib.get_close_matches(word.lower(), list(lower), n=1)
    return f" The nearest is {lower[close[0]]!r}." if close else ""
