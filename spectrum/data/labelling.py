"""What a target makes of a table of runs: classes by data set and task, and what does not fit.

Not here: finding runs (``bids``), and every other problem of the data (``inspection``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from spectrum.data.inspection import inspect_table
from spectrum.data.runs import RunTable
from spectrum.entities import RunKey
from spectrum.targets import Target, num_excluded

__all__ = ["label_table"]

_UNREAD_EVENTS: Final = "bad-events"
"""Code of an events table that cannot be read, so that its events are in no count."""


def label_table(table: RunTable, target: Target) -> dict[str, Any]:
    """Count the classes of a target by data set and task, and compare it with the runs.

    Returns
    -------
    labelling : plain JSON
        ``unit`` (run or event), ``num_runs``, ``classes`` (class -> runs or events),
        ``unlabelled`` (runs or events without class), ``excluded`` (runs left out on purpose);
        ``table`` (the same per data set and task); ``findings`` (code, message) where target and
        data do not fit; ``refused`` (code, path, message): events tables that cannot be read,
        for a target of events.
    """
    found = inspect_table(table, target)
    keys = [run.key for run in table.runs]
    return {
        **{name: found[name] for name in ("unit", "num_runs", "classes", "unlabelled")},
        "excluded": num_excluded(target, keys),
        "table": [
            {**row, "excluded": num_excluded(target, _of_task(keys, row["dataset"], row["task"]))}
            for row in found["table"]
        ],
        "findings": found["findings"],
        "refused": [
            problem
            for problem in found["problems"]
            if target.kind == "event" and problem["code"] == _UNREAD_EVENTS
        ],
    }


def _of_task(keys: Iterable[RunKey], dataset: str, task: str) -> list[RunKey]:
    return [key for key in keys if (key.dataset, key.task) == (dataset, task)]
