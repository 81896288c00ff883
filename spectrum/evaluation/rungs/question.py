"""What every rung is asked: runs, units, one fold, and the rows that it may be fitted on.

A rung is fitted on a fold's training side alone and gives its fitted state away as plain arrays,
so that a test can hold it to that. Not here: the rungs, and the order in which they are run
(``ladder``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from spectrum.config import FoldsConfig
from spectrum.data.folds import leakage_key
from spectrum.data.units import Fold, SequenceRuns, SequenceTable, Unit

if TYPE_CHECKING:
    from spectrum.config import PreprocessingConfig
    from spectrum.evaluation.measured import MeasuredRuns

__all__ = ["FittedRung", "Floats", "Ints", "Question", "Rung", "training_rows"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Runs, units, and whether pairs are scored; ``recipe`` made the runs' volumes."""

    runs: MeasuredRuns
    sequences: SequenceRuns
    recipe: PreprocessingConfig
    paired: bool
    scheme: str
    seed: int = 0

    @property
    def table(self) -> SequenceTable:
        """The units and their sequences."""
        return self.sequences.table

    def units(self, rows: Sequence[int]) -> list[Unit]:
        """Return some units."""
        return [self.table.units[row] for row in rows]

    def classes(self, rows: Sequence[int]) -> Ints:
        """Return the class index of some units."""
        return np.array([unit.class_index for unit in self.units(rows)], dtype=np.int64)

    def groups(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Return what may not be parted: the subject, or the run under leave-one-run-out."""
        key = leakage_key(FoldsConfig.model_validate({"scheme": self.scheme}))
        return tuple(key(unit) for unit in self.units(rows))

    def inner_folds(
        self, rows: Sequence[int], num_folds: int
    ) -> Iterator[tuple[list[int], list[int]]]:
        """Part training units by groups, for tuning; every inner training side has all classes."""
        groups, classes = self.groups(rows), self.classes(rows)
        num_folds = min(num_folds, len(set(groups)))
        if num_folds < 2:
            return
        for kept, left_out in GroupKFold(num_folds).split(rows, classes, groups):
            if np.unique(classes[kept]).size == np.unique(classes).size:
                yield [rows[i] for i in kept], [rows[i] for i in left_out]

    def volumes(self, run_index: int) -> NDArray[np.float16]:
        """Return the volumes of a run, (V, S, H, W)."""
        return self.sequences.read_run(run_index)

    def volumes_of_unit(self, row: int) -> Ints:
        """Return the volumes of the run that a unit's sequences use."""
        chosen = self.table.unit_of_sequence == row
        return np.unique(self.table.volumes_of_sequence[chosen])


class FittedRung(Protocol):
    """A model of one fold."""

    @property
    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """Everything that was fitted, by name."""

    @property
    def chosen(self) -> Mapping[str, float]:
        """What the inner folds chose."""

    def probabilities(self, rows: Sequence[int]) -> Floats:
        """Return (N, K) over the fold's classes in ascending order; rows add up to 1."""


class Rung(Protocol):
    """One kind of model."""

    @property
    def name(self) -> str:
        """Word that the command line uses."""

    @property
    def about(self) -> str:
        """What it sees and what it fits, in a line."""

    def obstacle(self, question: Question) -> str:
        """Say why it cannot be asked; empty where it can."""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Fit on the training and monitor units of a fold alone."""


def training_rows(fold: Fold) -> list[int]:
    """Return the units that a rung is fitted on."""
    return sorted((*fold.training, *fold.monitor))
