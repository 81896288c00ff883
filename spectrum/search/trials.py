"""What a trial is to the search: an objective that yields epochs, and how it ends.

Not here: the real objective (``objective``), and who runs it where (``study``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from spectrum.config import TrialConfig
from spectrum.errors import SearchError
from spectrum.records import FoldRecord, TrialEpochRecord

__all__ = ["Failure", "Objective", "ObjectiveMaker", "TrialEnd", "end_of"]


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
