"""What a trial is to the search: an objective that yields epochs, and how it ends.

Not here: the real objective (``objective``), and who runs it where (``study``).
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from spectrum.config import TrialConfig
from spectrum.errors import SearchError, SpectrumError
from spectrum.records import FoldRecord, TrialEpochRecord

__all__ = [
    "DISK_FULL",
    "Failure",
    "Objective",
    "ObjectiveMaker",
    "TrialEnd",
    "end_of",
    "failure_of",
]

DISK_FULL: Final = "DiskFull"
"""Kind of a failure that is the disk's and not the trial's, which goes on once there is room."""

MAX_CAUSES: Final = 30
"""Errors that are looked at behind one."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_SHARED_MEMORY: Final = "/dev/shm"
"""No disk: a trial that asks for more of it than there is does so again."""


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
    """Return why a trial failed; a full disk is told with the machine that it is of."""
    if any(map(_is_of_full_disk, _causes(err))):
        return Failure(kind=DISK_FULL, message=f"{str(err).rstrip('.')}, on {platform.node()}")
    return Failure(kind=type(err).__name__, message=str(err))


def _causes(err: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, in this process or in another one of Ray's."""
    found: list[BaseException | None] = [err]
    for each in found:
        if each is not None and len(found) < MAX_CAUSES:
            found += [each.__cause__ or each.__context__, getattr(each, "cause", None)]
    yield from filter(None, found)


def _is_of_full_disk(err: BaseException) -> bool:
    text = str(err)
    if _SHARED_MEMORY in text:
        return False
    if isinstance(err, OSError) and err.errno in _FULL:
        return True
    # Errors of ours that came from another process have lost what they came from.
    return isinstance(err, SpectrumError) and any(os.strerror(code) in text for code in _FULL)


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
