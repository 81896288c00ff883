"""Targets in words and aligned tables. Not here: what is printed when (``labels``)."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from spectrum.cli.tables import aligned

if TYPE_CHECKING:
    from spectrum.targets import Target

__all__ = ["counts_text", "list_text", "target_text"]

MAX_WIDTH: Final = 100
"""Longer lines of prose are hard to read; tables are as wide as they need to be."""


def list_text(targets: Iterable[Target]) -> str:
    """Write each target's name, classes and meaning."""
    parts = [
        f"{t.name}: {', '.join(t.classes)}\n{_wrapped(t.description, hang=0)}" for t in targets
    ]
    more = "spectrum targets NAME shows one whole; spectrum targets NAME BIDS_ROOT... counts."
    return "\n".join([*parts, "", more])


def target_text(target: Target) -> str:
    """Write a target whole: what it means, and every row with its source and doubts."""
    return "\n".join([*_head(target), *_rules(target), *_event(target), *_excluded(target)])


def counts_text(target: Target, found: Mapping[str, Any]) -> str:
    """Write the classes by data set and task, and what does not fit.

    Parameters
    ----------
    target : the target that was counted
    found : the object of ``spectrum.data.labelling.label_table``
    """
    rows = [_count_row(row, row["dataset"], row["task"], found["unit"]) for row in found["table"]]
    rows.append(_count_row(found, "all", "", found["unit"]))
    of_runs = ["no row"] if found["unit"] == "run" else ["no class"]
    head = ["data set", "task", "runs", *target.classes, *of_runs, "excluded runs"]
    lines = [f"{target.name}: {found['unit']}s of each class"]
    lines += _table([head, *rows], num_text_columns=2)
    lines += [f"{f['code']}: {f['message']}" for f in found["findings"]]
    return "\n".join(lines)


def _count_row(row: Mapping[str, Any], dataset: str, task: str, unit: str) -> list[str]:
    left = row["unlabelled"] - (row["excluded"] if unit == "run" else 0)
    counts = [row["num_runs"], *row["classes"].values(), left, row["excluded"]]
    return [dataset, task, *map(str, counts)]


def _head(target: Target) -> list[str]:
    scored = "paired within subject, task and session" if target.paired else "not paired"
    return [
        f"{target.name}: {', '.join(target.classes)}",
        _wrapped(target.description or "It has no description.", hang=0),
        f"    classes of {target.kind}s, {scored}",
        f"    confounded with: {', '.join(target.confounded_with) or 'nothing declared'}",
    ]


def _rules(target: Target) -> list[str]:
    if not target.rules:
        return []
    head = ["row", "data set", "task", "run", "session", "subject", "class"]
    cells = [
        [str(number), *_selection(rule), rule.class_name]
        for number, rule in enumerate(target.rules, start=1)
    ]
    notes = [(rule.note, number) for number, rule in enumerate(target.rules, 1) if rule.note]
    sources = [(rule.source, number) for number, rule in enumerate(target.rules, start=1)]
    lines = ["", "rules", *_table([head, *cells], num_text_columns=len(head))]
    return [*lines, *_by_rows("source", sources), *_by_rows("note", notes)]


def _event(target: Target) -> list[str]:
    if target.event is None:
        return []
    event = target.event
    cells = [["trial type", "class"], *(list(pair) for pair in event.trial_types.items())]
    lasts = "as long as the event" if event.duration_s is None else f"{event.duration_s:g} s"
    return [
        "",
        "events",
        *_table(cells, num_text_columns=2),
        f"    window: from {event.hrf_delay_s:g} s after the onset, {lasts}",
        f"    tasks: {', '.join(event.tasks) or 'all'}",
        _wrapped(f"source: {event.source or 'not given'}"),
    ]


def _excluded(target: Target) -> list[str]:
    if not target.excluded:
        return []
    head = ["row", "data set", "task", "run", "session", "subject"]
    rows = list(enumerate(target.excluded, start=1))
    cells = [[str(number), *_selection(row)] for number, row in rows]
    lines = ["", "excluded", *_table([head, *cells], num_text_columns=len(head))]
    lines += _by_rows("reason", [(row.reason, number) for number, row in rows])
    return [*lines, *_by_rows("source", [(row.source, number) for number, row in rows])]


def _selection(row: Any) -> list[str]:
    values = (row.dataset, row.task, row.run, row.session, row.subject)
    return ["any" if value is None else str(value) or "none" for value in values]


def _by_rows(title: str, said: Sequence[tuple[str, int]]) -> list[str]:
    """Write each text once, with the rows that it speaks of."""
    rows_of: dict[str, list[int]] = {}
    for text, number in said:
        rows_of.setdefault(text, []).append(number)
    return [
        _wrapped(f"{title} of row{'s' * (len(rows) > 1)} {_ranges(rows)}: {text}")
        for text, rows in rows_of.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """Write rising numbers shortly.

    Examples
    --------
    >>> _ranges([1, 3, 4, 5, 8, 9])
    '1, 3-5, 8, 9'
    """
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ", ".join(
        f"{group[0]}-{group[-1]}" if len(group) > 2 else ", ".join(map(str, group))
        for group in groups
    )


def _table(rows: Sequence[Sequence[str]], *, num_text_columns: int) -> list[str]:
    """Align columns: the first ones to the left, the numbers after them to the right.

    Columns in which no row says anything but ``any`` are left out.
    """
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"any"}]
    rows_left = list(zip(*columns, strict=True))
    return [f"    {line}" for line in aligned(rows_left, num_words=num_text_columns)]


def _wrapped(text: str, *, hang: int = 2) -> str:
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    return textwrap.fill(
        " ".join(text.split()),
        max(width, 40),
        initial_indent="    ",
        subsequent_indent=" " * (4 + hang),
        break_on_hyphens=False,
    )
