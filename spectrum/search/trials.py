"""What a trial is to the search: an objective that yields epochs, and how it ends.

Not here: the real objective (``objective``), and who runs it where (``study``).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from spectrum.config import TrialConfig
from spectrum.errors import SearchError
from spectrum.records import FoldRecord, TrialEpochRecord

__all__ = [
    "NO_ROOM",
    "Failure",
    "Objective",
    "ObjectiveMaker",
    "TrialEnd",
    "end_of",
    "failure_of",
]

NO_ROOM: Final = "NoRoom"
"""Kind of a failure that is the disk's and not the trial's, which goes on once there is room."""

_TAKES_NOTHING: Final = tuple(
    os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
)
"""What libraries that are not Python's, and errors that came from another process, keep of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnd:
    """What a trial that trained all its epochs leaves: its folds, and further metrics by name.

    ``notes`` are sentences for the user of the study; one that was told already is not repeated.
    """

    folds: tuple[FoldRecord, ...]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial failed: the kind of error, and its message."""

    kind: str
    message: str


def failure_of(err: Exception) -> Failure:
    """Return why a trial failed."""
    message = str(err)
    has_no_room = any(words in message for words in _TAKES_NOTHING)
    return Failure(kind=NO_ROOM if has_no_room else type(err).__name__, message=message)


class Objective(Protocol):
    """Runs trials one after the other in one process, and may keep data between them."""

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        """Run one trial; yield a record after each epoch, the last one with ``finished``.

        Parameters
        ----------
        rank : of this process among the ``training.workers`` of the trial, which all yield the
            same; beyond one, ``torch.distributed`` is initialised
        """


ObjectiveMaker = Callable[[], Objective]
"""Builds the objective once in each worker process; travels there by pickle."""


def end_of(epochs: Generator[TrialEpochRecord, None, TrialEnd]) -> TrialEnd:
    """Return what a trial leaves, after it yielded its last record."""
    try:
        next(epochs)
    except StopIteration as stop:
        end: TrialEnd = stop.value
        return end
    raise SearchError("The trial went on after the record that says it finished.")
