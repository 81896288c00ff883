"""Events tables, bad and good, as data: what each holds and what must become of it.

Outcomes: ``refuse``: the table cannot be trusted and no event of it may be used; ``problem``:
it is read, and inspecting the run tells what is odd; ``fine``: it is read, and nothing is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

RUN_S = 22.0
"""How long the run is that the tables belong to: 11 volumes of 2 s."""

HEAD = "onset\tduration\ttrial_type\n"


@dataclass(frozen=True)
class EventsTable:
    """``num_events`` is how many must be read; None where the table is refused."""

    kind: str
    outcome: Literal["refuse", "problem", "fine"]
    content: Callable[[], bytes]
    num_events: int | None = None


def _table(
    kind: str,
    outcome: Literal["refuse", "problem", "fine"],
    text: str | bytes,
    num_events: int | None = None,
) -> EventsTable:
    content = text if isinstance(text, bytes) else text.encode("utf-8")
    return EventsTable(kind, outcome, lambda: content, num_events)


REFUSED = (
    _table("empty file", "refuse", b""),
    _table("blank lines alone", "refuse", "\n\n \n"),
    _table("no onset column", "refuse", "start\tduration\n0.0\t1.0\n"),
    _table("no header line", "refuse", "0.0\t1.0\tface\n4.0\t1.0\thouse\n"),
    _table("Onset in capitals", "refuse", "Onset\tDuration\n0.0\t1.0\n"),
    _table("text in onset", "refuse", HEAD + "soon\t1.0\tface\n"),
    _table("onset n/a", "refuse", HEAD + "n/a\t1.0\tface\n"),
    _table("onset left out", "refuse", HEAD + "\t1.0\tface\n"),
    _table("onset NaN", "refuse", HEAD + "nan\t1.0\tface\n"),
    _table("onset infinite", "refuse", HEAD + "inf\t1.0\tface\n"),
    _table("onset as a clock", "refuse", HEAD + "00:04.2\t1.0\tface\n"),
    _table("comma for a decimal point", "refuse", HEAD + "0,5\t1,0\tface\n"),
    _table("commas between columns", "refuse", "onset,duration,trial_type\n0.0,1.0,face\n"),
    _table("spaces between columns", "refuse", "onset duration trial_type\n0.0 1.0 face\n"),
    _table("text in duration", "refuse", HEAD + "0.0\tlong\tface\n"),
    _table("negative duration", "refuse", HEAD + "0.0\t-1.0\tface\n"),
    _table("duration infinite", "refuse", HEAD + "0.0\tinf\tface\n"),
    _table("column twice", "refuse", "onset\tonset\tduration\n0.0\t9.0\t1.0\n"),
    _table("a row too long", "refuse", HEAD + "0.0\t1.0\tface\t7\n"),
    _table("a row too short", "refuse", HEAD + "0.0\t1.0\tface\n4.0\t1.0\n"),
    _table("NUL bytes", "refuse", HEAD + "0.0\t1.0\tfa\0ce\n"),
    _table("bytes of an image", "refuse", bytes(range(256)) * 9),
    _table("gzip", "refuse", b"\x1f\x8b\x08\x00" + bytes(99)),
    _table("UTF-16", "refuse", (HEAD + "0.0\t1.0\tface\n").encode("utf-16")),
    _table("Latin-1", "refuse", (HEAD + "0.0\t1.0\tgr\xfcn\n").encode("latin-1")),
    _table("web page", "refuse", "<!DOCTYPE html><html>404</html>\n"),
    _table("annex pointer", "refuse", "/annex/objects/MD5E-s9--0f.tsv\n"),
    EventsTable("80 MB", "refuse", lambda: (HEAD + "0.0\t1.0\tface\n" * 6_200_000).encode()),
)

PROBLEMS = (
    _table("header line alone", "problem", HEAD, 0),
    _table("unsorted", "problem", HEAD + "8.0\t1.0\tface\n0.0\t1.0\thouse\n", 2),
    _table("begins after the end", "problem", HEAD + "0.0\t1.0\tface\n40.0\t1.0\thouse\n", 2),
    _table("ends after the end", "problem", HEAD + "0.0\t1.0\tface\n20.0\t6.0\thouse\n", 2),
    _table("before the first volume", "problem", HEAD + "-6.0\t1.0\tface\n4.0\t1.0\thouse\n", 2),
    _table("twice the same row", "problem", HEAD + "0.0\t1.0\tface\n0.0\t1.0\tface\n", 2),
    _table("milliseconds", "problem", HEAD + "0\t1000\tface\n8000\t1000\thouse\n", 2),
)

FINE = (
    _table("as BIDS wants it", "fine", HEAD + "0.0\t1.0\tface\n8.0\t2.0\thouse\n", 2),
    _table("byte-order mark", "fine", b"\xef\xbb\xbf" + HEAD.encode() + b"0.0\t1.0\tface\n", 1),
    _table("CRLF", "fine", HEAD.replace("\n", "\r\n") + "0.0\t1.0\tface\r\n", 1),
    _table("no last line end", "fine", HEAD + "0.0\t1.0\tface", 1),
    _table("blank line at the end", "fine", HEAD + "0.0\t1.0\tface\n\n", 1),
    _table("duration n/a", "fine", HEAD + "0.0\tn/a\tface\n", 1),
    _table("trial_type n/a", "fine", HEAD + "0.0\t1.0\tn/a\n4.0\t1.0\tface\n", 2),
    _table("no trial_type", "fine", "onset\tduration\n0.0\t1.0\n", 1),
    _table("columns in another order", "fine", "trial_type\tduration\tonset\nface\t1.0\t0.0\n", 1),
    _table(
        "columns equal but for case",
        "fine",
        "onset\tduration\ttrial_type\tfeedback\tFeedback\n0.0\t1.0\tface\t1\tyes\n",
        1,
    ),
    _table("spaces in a trial type", "fine", HEAD + "0.0\t1.0\tfailed stop - critical\n", 1),
    _table("other letters", "fine", HEAD + "0.0\t1.0\tgr\xfcn\n", 1),
    _table("exponents", "fine", HEAD + "1e0\t5e-1\tface\n", 1),
    _table("two at one time", "fine", HEAD + "0.0\t1.0\tface\n0.0\t1.0\thouse\n", 2),
)

TABLES = (*REFUSED, *PROBLEMS, *FINE)
