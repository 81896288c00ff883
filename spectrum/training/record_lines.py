"""Records as JSON lines: written by one process, followed by another while they are written."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from spectrum.records import EpochRecord, ScoreRecord, TrialEpochRecord

__all__ = ["FollowedRecords", "append_record", "cut_to_lines", "record_from_json"]

SECONDS_BETWEEN_LOOKS = 0.5
"""How often a followed file is looked at."""


def append_record(path: Path, record: TrialEpochRecord) -> None:
    """Append a record as one line, without predictions, and flush it."""
    value = {
        "epoch": record.epoch,
        "score": record.score.to_json(),
        "folds": [fold.to_json() for fold in record.folds],
        "finished": record.finished,
        "ended_folds": record.ended_folds,
    }
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(value, allow_nan=False) + "\n")


def cut_to_lines(path: Path) -> int:
    """Cut a line that a kill left without its end; return how many lines there are."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        with path.open("r+b") as file:
            file.truncate(end)
    return content.count(b"\n")


def record_from_json(value: dict[str, Any]) -> TrialEpochRecord:
    """Return the record of a line; it has no predictions."""
    score = value["score"]
    return TrialEpochRecord(
        epoch=value["epoch"],
        score=ScoreRecord(**{**score, "ci95": tuple(score["ci95"])}),
        folds=tuple(EpochRecord(**fold) for fold in value["folds"]),
        finished=value["finished"],
        ended_folds=tuple(value.get("ended_folds", ())),
    )


class FollowedRecords:
    """Hands each record of a growing file to a callback, until the block ends.

    Parameters
    ----------
    path : JSON lines, possibly without an end of the last line yet
    on_record : called from a thread of its own, once a record, in order
    """

    def __init__(self, path: Path, on_record: Callable[[TrialEpochRecord], None]) -> None:
        self._path = path
        self._on_record = on_record
        self._position = 0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> FollowedRecords:
        """Begin to follow."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hand over what is left, and end."""
        self._has_ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._has_ended.wait(SECONDS_BETWEEN_LOOKS):
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        with self._path.open("rb") as lines:
            lines.seek(self._position)
            content = lines.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.splitlines():
            self._on_record(record_from_json(json.loads(line)))
