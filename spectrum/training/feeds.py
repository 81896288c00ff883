"""What a fit asks of the data, and which feed answers: one reader, whatever the volumes lie in.

A feed gives the same numbers in the same order in every mode, in the unit of the recipe.
Not here: which mode is taken (``feeding``), and how each reads (``resident``, ``run_feed``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from spectrum.config import TrainingConfig
from spectrum.data.units import SequenceData, SequenceRuns
from spectrum.training.resident import ResidentData
from spectrum.training.run_feed import RunFeed

__all__ = ["Feed", "Sequences", "build_feed"]

Sequences = SequenceData | SequenceRuns
"""Units, their sequences and their volumes, in one array or run by run."""

GIB = 2**30


class Feed(Protocol):
    """Sequences of a data set for one device; shared by all folds of a trial."""

    @property
    def source(self) -> Sequences:
        """The data that is fed."""

    @property
    def class_index(self) -> Tensor:
        """Class of each sequence, on the device."""

    @property
    def device(self) -> torch.device:
        """Where slices arrive."""

    def level(self, sequences: Tensor) -> float:
        """Return the root mean square of the voxels that are not zero, 1.0 where all are."""

    def iter_read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the float32 slices (B, T, S, H, W) of each part (B,) of sequences, in order."""


def build_feed(data: Sequences, device: torch.device, config: TrainingConfig) -> Feed:
    """Return the feed of some data: one array goes to the device, runs stay where they are."""
    if isinstance(data, SequenceData):
        return ResidentData.place(data, device)
    return RunFeed(data, device, capacity_bytes=int(config.stream_gib * GIB))
