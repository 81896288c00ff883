"""Events of a run, as ``events.tsv`` lists them, and what is odd about them.

Not here: which class they have (targets).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from spectrum.data.runs import Event, Problem, Run
from spectrum.errors import SidecarError

__all__ = ["odd_events", "read_events"]

MAX_BYTES: Final = 16 * 1024**2
"""Largest table taken for real: 100,000 rows of 160 characters."""


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

    ``late-events`` begin after the last volume has ended, ``early-events`` before the first
    begins, ``unsorted-events`` are not in the order of time.
    """
    findings = []
    early = sum(event.onset_s < 0 for event in events)
    if early:
        told = f"{early} events of {run.events_path} begin before the first volume"
        findings.append(
            ("early-events", f"{told}. No volume shows their start; check the onsets.")
        )
    findings += _late(run, events)
    if any(later.onset_s < event.onset_s for event, later in pairwise(events)):
        told = f"{run.events_path} is not in the order of onsets"
        findings.append(("unsorted-events", f"{told}. Each event keeps the number of its row."))
    return tuple(
        Problem(code=code, path=str(run.events_path), message=message)
        for code, message in findings
    )


def _late(run: Run, events: Sequence[Event]) -> list[tuple[str, str]]:
    if run.shape is None or run.tr_s is None:
        return []
    end_s = run.shape[3] * run.tr_s
    late = sum(event.onset_s >= end_s for event in events)
    if not late:
        return []
    message = (
        f"{late} events of {run.events_path} begin after the image ends at {end_s:g} s. "
        "No volume shows them; check that the table belongs to the run."
    )
    return [("late-events", message)]


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _bad(path, f"has {path.stat().st_size} bytes, more than {MAX_BYTES}")
        text = path.read_text(encoding="utf-8-sig")
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
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad(path, f"has {text!r} for seconds in row {number}")
    return value


def _bad(path: Path, finding: str) -> SidecarError:
    return SidecarError(
        f"{path} {finding}. Expected tab-separated onset, duration and trial_type in seconds; "
        "correct the file after BIDS.",
        code="bad-events",
        path=str(path),
    )
