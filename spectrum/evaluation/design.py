"""What the design alone gives away: the most frequent class of a data set, a task, a run number.

A rule that never looks at an image, fitted on training units alone. Not here: acquisition numbers
(``predictors``), and the model that weighs classes alike (``audit``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectrum.data.units import Fold, SequenceTable
from spectrum.evaluation.predictors import Predictors
from spectrum.records import Prediction

__all__ = ["Direction", "look_up", "pair_directions"]


def look_up(
    values: Sequence[str], table: SequenceTable, folds: Sequence[Fold]
) -> list[Prediction]:
    """Predict the class frequencies of the training units that have the same value.

    Parameters
    ----------
    values : of a design predictor, one for each unit
    table : the units
    folds : monitor units count as training
        A value that training does not have gets the frequencies of all training units.

    Returns
    -------
    predictions : of the held-out units; a tie is answered with the first of the classes
    """
    predictions = []
    for fold in folds:
        counts: defaultdict[str | None, Counter[int]] = defaultdict(Counter)
        for row in (*fold.training, *fold.monitor):
            for place in (values[row], None):
                counts[place][table.units[row].class_index] += 1
        for row in fold.validation:
            found = counts[values[row]] if values[row] in counts else counts[None]
            shares = np.array([found[index] for index in range(len(table.classes))], dtype=float)
            predictions.append(
                table.units[row].predicted(
                    (shares / shares.sum()).tolist(), classes=table.classes, fold=fold.name
                )
            )
    return predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """In how many pairs a number is higher in the unit of the later class; ties count in neither.

    ``num_pairs`` are those in which both units have the number.
    """

    num_higher: int
    num_lower: int
    num_pairs: int

    @property
    def share_higher(self) -> float:
        """Share of pairs in which it is higher."""
        return self.num_higher / self.num_pairs


def pair_directions(predictors: Predictors, table: SequenceTable) -> dict[str, Direction]:
    """Return for each number how it goes from the earlier to the later class within pairs."""
    members: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for index, unit in enumerate(table.units):
        if unit.pair:
            members[unit.pair][unit.class_index] = index
    pairs = [(rows[0], rows[1]) for rows in members.values() if set(rows) == {0, 1}]
    found = {}
    for column, name in enumerate(predictors.names):
        values = predictors.values[:, column]
        changes = np.array([values[later] - values[earlier] for earlier, later in pairs])
        known = changes[np.isfinite(changes)]
        if known.size and np.any(known):
            found[name] = Direction(
                num_higher=int((known > 0).sum()),
                num_lower=int((known < 0).sum()),
                num_pairs=int(known.size),
            )
    return found
