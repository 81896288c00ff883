"""Events of a run, as ``events.tsv`` lists them. Not here: which class they have (targets)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from spectrum.data.runs import Event
from spectrum.errors import SidecarError

__all__ = ["read_events"]


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
        ``no-events`` where there is no file, ``bad-events`` where it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        message = f"There is no events table {path}. Give the path of an events.tsv."
        raise SidecarError(message, code="no-events", path=str(path)) from err
    except (OSError, UnicodeDecodeError) as err:
        raise _bad(path, f"is not readable as UTF-8 text ({err})") from err
    lines = [line for line in text.splitlines() if line.strip()]
    columns = [name.strip() for name in lines[0].split("\t")] if lines else []
    if "onset" not in columns:
        raise _bad(path, f"has no column onset among {', '.join(columns)[:200] or 'no columns'}")
    return tuple(
        _read_row(dict(zip(columns, line.split("\t"), strict=False)), number, path)
        for number, line in enumerate(lines[1:], start=1)
    )


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
