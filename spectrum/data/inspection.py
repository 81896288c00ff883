"""What a table of runs amounts to under a target, as plain JSON. Not here: finding runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from spectrum.data.events import odd_events, read_events
from spectrum.data.runs import Event, Problem, Run, RunTable
from spectrum.entities import RunKey
from spectrum.errors import SidecarError
from spectrum.targets import Target, target_findings

__all__ = ["inspect_table"]


def inspect_table(table: RunTable, target: Target) -> dict[str, Any]:
    """Count runs, classes and problems.

    Returns
    -------
    inspection : plain JSON
        ``num_runs``; ``datasets`` (name -> runs); ``classes`` (class -> runs, or events for a
        target of events); ``unlabelled`` (runs or events without class); ``problems`` (code,
        path, message, refuses); ``target``; ``unit`` (run or event); ``num_usable`` (runs that
        nothing refuses); ``num_subjects`` and ``num_pairs`` (of labelled runs; 0 pairs if not
        paired);
        ``table`` (per data set and task: runs, usable runs, classes); ``findings`` (code,
        message) where target and data do not fit.
    """
    events_of, problems = _read_all_events(table.runs)
    classes = {
        run.key: _classes_of(run.key, events_of.get(run.key, ()), target) for run in table.runs
    }
    usable = {run.key for run in table.runs if run.is_usable and _has_events(run, events_of)}
    counts = Counter(name for names in classes.values() for name in names)
    labelled = [key for key, names in classes.items() if any(names)]
    problems = [*table.problems, *problems]
    types = {k: frozenset(event.trial_type for event in found) for k, found in events_of.items()}
    return {
        "target": target.name,
        "unit": target.kind,
        "num_runs": len(table.runs),
        "num_usable": len(usable),
        "num_subjects": len({key.group for key in labelled}),
        "num_pairs": _num_pairs(labelled, target),
        "is_paired": target.paired,
        "datasets": dict(Counter(run.key.dataset for run in table.runs)),
        "classes": {name: counts[name] for name in target.classes},
        "unlabelled": counts[None],
        "table": _rows(table.runs, classes, usable, target),
        "problems": [asdict(problem) for problem in problems],
        "findings": [asdict(f) for f in target_findings(target, list(classes), types)],
    }


def _has_events(run: Run, events_of: dict[RunKey, tuple[Event, ...]]) -> bool:
    """Tell whether the events of a run can be read, or there are none to read."""
    return run.events_path is None or run.key in events_of


def _classes_of(key: RunKey, events: Iterable[Event], target: Target) -> list[str | None]:
    if target.kind == "run":
        return [target.class_of(key)]
    return [target.class_of_event(key, event.trial_type) for event in events]


def _read_all_events(
    runs: Sequence[Run],
) -> tuple[dict[RunKey, tuple[Event, ...]], list[Problem]]:
    events_of: dict[RunKey, tuple[Event, ...]] = {}
    problems: list[Problem] = []
    for run in runs:
        if run.events_path is None:
            continue
        try:
            events_of[run.key] = read_events(run.events_path)
        except SidecarError as err:
            problems.append(
                Problem(code=err.code, path=err.path, message=err.message, refuses=True)
            )
            continue
        problems += odd_events(run, events_of[run.key])
    return events_of, problems


def _num_pairs(labelled: Sequence[RunKey], target: Target) -> int:
    """Count pairs that have both classes."""
    found = {(target.pair_of(key), target.class_of(key)) for key in labelled if target.paired}
    return sum(count == len(target.classes) for count in Counter(p for p, _ in found).values())


def _rows(
    runs: Sequence[Run],
    classes: dict[RunKey, list[str | None]],
    usable: set[RunKey],
    target: Target,
) -> list[dict[str, Any]]:
    rows = []
    ordered = sorted(runs, key=lambda run: (run.key.dataset, run.key.task))
    for (dataset, task), group in groupby(ordered, key=lambda r: (r.key.dataset, r.key.task)):
        members = list(group)
        counts = Counter(name for run in members for name in classes[run.key])
        rows.append(
            {
                "dataset": dataset,
                "task": task,
                "num_runs": len(members),
                "num_usable": sum(run.key in usable for run in members),
                "classes": {name: counts[name] for name in target.classes},
                "unlabelled": counts[None],
            }
        )
    return rows
