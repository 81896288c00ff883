"""Events of a run, as ``events.tsv`` lists them, and what is odd about them.

Not here: which class they have (targets).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from spectrum.config.files import read_file
from spectrum.data.runs import Event, Problem, Run
from spectrum.errors import SidecarError

__all__ = ["odd_events", "read_events"]

MAX_BYTES: Final = 16 * 1024**2
"""Largest table taken for real: 100,000 rows of 160 characters."""

MAX_CELL: Final = 80
"""Characters of a cell that a refusal repeats."""

NUMBER: Final = re.compile(r"[-+0-9.eE]+")
"""Python also reads ``1_0`` as a number, and digits of other scripts."""


def read_events(path: Path) -> tuple[Event, ...]:
    """Read a BIDS events table.

    Columns are known by their exact names (``feedback`` and ``Feedback`` are two). A duration
    that is n/a, or has no column, is 0 s; a ``trial_type`` without column is ``n/a``.

    Returns
    -------
    events : in the order of the file, seconds from the start of the first volume
        Rows with ``trial_type`` n/a are kept, so that an event's index is that of its row.

    Raises
    ------
    SidecarError
        ``no-events`` where there is no file, ``bad-events`` where it cannot be read: it is no
        UTF-8 text, has no column ``onset`` or one column twice, a row of another length, a time
        that is no finite number, or a negative duration.
    """
    lines = [line for line in _read_text(path).splitlines() if line.strip()]
    columns = [name.strip() for name in lines[0].split("\t")] if lines else []
    _check_columns(columns, path)
    return tuple(
        _read_row(_cells(columns, line, number, path), number, path)
        for number, line in enumerate(lines[1:], start=1)
    )


def odd_events(run: Run, events: Sequence[Event]) -> tuple[Problem, ...]:
    """Return what is odd about the events of a run: none refuses it.

    ``early-events`` begin before the first volume, ``late-events`` after the last has ended,
    ``cut-events`` last longer than the image, ``unsorted-events`` are not in the order of time,
    ``repeated-events`` stand there twice, ``empty-events`` is a table without a row.
    """
    times = (*_early(events), *_beyond(run, events), *_unsorted(events))
    return tuple(
        Problem(code=code, path=str(run.events_path), message=f"{run.events_path}: {finding}")
        for code, finding in (*times, *_repeated(events), *_empty(events))
    )


Findings = Iterator[tuple[str, str]]


def _early(events: Sequence[Event]) -> Findings:
    early = sum(event.onset_s < 0 for event in events)
    if early:
        told = f"{early} events begin before the first volume"
        yield "early-events", f"{told}. No volume shows their start; check the onsets."


def _beyond(run: Run, events: Sequence[Event]) -> Findings:
    if run.shape is None or run.tr_s is None:
        return
    end_s = run.shape[3] * run.tr_s
    late = sum(event.onset_s >= end_s for event in events)
    if late:
        told = f"{late} events begin after the image ends at {end_s:g} s"
        yield "late-events", f"{told}. No volume shows them; check that the table is of this run."
    cut = sum(event.onset_s < end_s < event.onset_s + event.duration_s for event in events)
    if cut:
        told = f"{cut} events last longer than the image, which ends at {end_s:g} s"
        yield "cut-events", f"{told}. What comes after it is not seen."


def _unsorted(events: Sequence[Event]) -> Findings:
    if any(later.onset_s < event.onset_s for event, later in pairwise(events)):
        told = "the events are not in the order of their onsets"
        yield "unsorted-events", f"{told}. Each event keeps the number of its row."


def _repeated(events: Sequence[Event]) -> Findings:
    repeated = len(events) - len(set(events))
    if repeated:
        told = f"{repeated} rows repeat the onset, duration and trial type of another"
        yield "repeated-events", f"{told}. Each counts as an event; remove the copies."


def _empty(events: Sequence[Event]) -> Findings:
    if not events:
        yield "empty-events", "the table has no row. No event of the run can have a class."


def _read_text(path: Path) -> str:
    try:
        text = read_file(path, max_bytes=MAX_BYTES).decode("utf-8-sig")
    except FileNotFoundError as err:
        message = f"There is no events table {path}. Give the path of an events.tsv."
        raise SidecarError(message, code="no-events", path=str(path)) from err
    except (OSError, UnicodeDecodeError) as err:
        raise _bad(path, f"is not readable as UTF-8 text ({err})") from err
    if "\0" in text:
        raise _bad(path, "holds zero bytes")
    return text


def _check_columns(columns: Sequence[str], path: Path) -> None:
    if "onset" not in columns:
        listed = ", ".join(columns)[:200] or "no columns"
        raise _bad(path, f"has no column onset among {listed}")
    twice = [name for name, count in Counter(columns).items() if count > 1 and name]
    if twice:
        raise _bad(path, f"has the column {twice[0]} twice")


def _cells(columns: Sequence[str], line: str, number: int, path: Path) -> Mapping[str, str]:
    cells = line.split("\t")
    if len(cells) < len(columns) or any(cell.strip() for cell in cells[len(columns) :]):
        raise _bad(path, f"has {len(cells)} cells in row {number} under {len(columns)} columns")
    return dict(zip(columns, cells, strict=False))


def _read_row(row: Mapping[str, str], number: int, path: Path) -> Event:
    duration = row.get("duration", "n/a").strip()
    duration_s = 0.0 if duration in ("n/a", "") else _seconds(duration, number, path)
    if duration_s < 0:
        raise _bad(path, f"has a duration of {duration} s in row {number}")
    return Event(
        onset_s=_seconds(row.get("onset", ""), number, path),
        duration_s=duration_s,
        trial_type=row.get("trial_type", "n/a").strip() or "n/a",
    )


def _seconds(text: str, number: int, path: Path) -> float:
    try:
        value = float(text) if NUMBER.fullmatch(text.strip()) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad(path, f"has {text[:MAX_CELL]!r} for seconds in row {number}")
    return value


def _bad(path: Path, finding: str) -> SidecarError:
    return SidecarError(
        f"{path} {finding}. Expected tab-separated onset, duration and trial_type in seconds; "
        "correct the file after BIDS.",
        code="bad-events",
        path=str(path),
    )
