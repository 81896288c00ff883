"""What one opening of the sealed side says: score, floor, tests, and how much it could have shown.

The model is fixed: classes move within test subjects, and no fit is repeated. Not here: the refit
and the opening itself (``spectrum.search.unsealing``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spectrum.data.folds import BY_SUBJECT
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold, SequenceTable, Unit
from spectrum.entities import RunKey
from spectrum.errors import DataError
from spectrum.evaluation.audit import predict_from_numbers
from spectrum.evaluation.permutation import PermutationResult, permute_labels
from spectrum.evaluation.power import Power, measure_power
from spectrum.evaluation.predictors import acquisition_predictors
from spectrum.evaluation.statistics import (
    Comparison,
    Finding,
    compare_predictions,
    correct_for_looks,
    judge_finding,
)
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions
from spectrum.scores.checking import classes_of_fold
from spectrum.targets import Target

__all__ = [
    "SealedScore",
    "power_of_predictions",
    "power_sentence",
    "predict_sealed_floor",
    "score_sealed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedScore:
    """A score on sealed people, beside the floor of the same two sides.

    ``permutation`` is None where no class can move; ``p`` is then the score's own, and ``test``
    says which test gave it. ``comparison`` is of the model with the floor, ``power`` what as many
    people can show.
    """

    score: ScoreRecord
    floor: ScoreRecord
    permutation: PermutationResult | None
    p: float
    test: str
    comparison: Comparison
    finding: Finding
    power: Power
    num_looks: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON without the null of the permutation test."""
        permutation = asdict(self.permutation) if self.permutation else None
        if permutation is not None:
            del permutation["null"]
        return {
            "num_subjects": self.score.num_groups,
            "score": self.score.to_json(),
            "floor": self.floor.to_json(),
            "p": self.p,
            "p_corrected": correct_for_looks(self.p, self.num_looks),
            "num_looks": self.num_looks,
            "test": self.test,
            "permutation": permutation,
            "comparison": asdict(self.comparison),
            "finding": asdict(self.finding),
            "power": {**asdict(self.power), "told": power_sentence(self.power)},
        }


def predict_sealed_floor(
    shards: ShardSet, table: SequenceTable, fold: Fold, *, target: Target
) -> list[Prediction]:
    """Return what acquisition numbers alone say of the sealed units, fitted on all others."""
    return predict_from_numbers(
        acquisition_predictors(shards, table),
        table,
        [fold],
        target=target,
        scheme=BY_SUBJECT.scheme,
    )


def score_sealed(
    predictions: Sequence[Prediction],
    floor: Sequence[Prediction],
    *,
    classes: tuple[str, ...],
    paired: bool,
    power: Power,
    num_looks: int = 1,
) -> SealedScore:
    """Score what a model says of sealed units, test it, and judge whether it is a finding.

    Parameters
    ----------
    predictions, floor : of the same units in the same folds, by the model and by the floor
    classes : in the order of the probabilities
    paired : whether pairs are scored
    power : of as many people
    num_looks : times that these people were scored, the present one among them
    """
    score = score_predictions(predictions, classes=classes, paired=paired)
    try:
        permutation = permute_labels(predictions, classes=classes, paired=paired)
    except DataError as err:
        if err.code != "no-permutation":
            raise
        permutation = None
    comparison = compare_predictions(predictions, floor, classes=classes, paired=paired)
    p = score.p if permutation is None else permutation.p
    return SealedScore(
        score=score,
        floor=score_predictions(floor, classes=classes, paired=paired),
        permutation=permutation,
        p=p,
        test=score.test if permutation is None else permutation.test,
        comparison=comparison,
        finding=judge_finding(p, comparison, num_looks=num_looks),
        power=power,
        num_looks=num_looks,
    )


def power_of_predictions(
    predictions: Sequence[Prediction],
    *,
    classes: tuple[str, ...],
    paired: bool,
    num_simulations: int = 100,
) -> Power:
    """Return what the people of some predictions can show, each fold a model of its own.

    Parameters
    ----------
    predictions : of held-out units
    classes : in the order of the probabilities
    paired : whether pairs are scored
    num_simulations : of each accuracy
    """
    units = tuple(_unit(told, index, classes) for index, told in enumerate(predictions))
    places = np.arange(len(units), dtype=np.int64)
    table = SequenceTable(
        units=units,
        classes=classes,
        num_volumes=1,
        run_of_sequence=places,
        start_of_sequence=np.zeros_like(places),
        unit_of_sequence=places,
    )
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for index, told in enumerate(predictions):
        rows_of[told.fold].append(index)
    open_in = classes_of_fold(predictions)
    folds = [
        Fold(
            name=name,
            held_out=name,
            training=(),
            validation=tuple(rows),
            classes=tuple(classes.index(one) for one in sorted(open_in[name], key=classes.index)),
        )
        for name, rows in rows_of.items()
    ]
    return measure_power(table, folds, paired=paired, num_simulations=num_simulations)


def _unit(told: Prediction, index: int, classes: tuple[str, ...]) -> Unit:
    event = told.unit.partition("#")[2]
    return Unit(
        key=RunKey(
            dataset=told.dataset,
            subject=told.subject,
            session=told.session,
            task=told.task,
            run=told.run,
        ),
        name=told.unit,
        pair=told.pair,
        class_index=classes.index(told.true_class),
        run_index=index,
        event_index=int(event) if event else None,
        person=told.person,
    )


def power_sentence(power: Power, kind: str = "sealed subject") -> str:
    """Say how little so many subjects can show."""
    who = f"{power.num_subjects} {kind}{'s' if power.num_subjects != 1 else ''}"
    if power.needed is None:
        return f"{who} are too few: not even a perfect score would have p < 0.05."
    bar = f"{who}: p < 0.05 takes a score of about {power.needed:.2f}"
    if power.smallest is None:
        return f"{bar}, and no accuracy has a power of 80 %."
    return f"{bar}, a power of 80 % an accuracy of {power.smallest:.2f}{_above_floor(power)}."


def _above_floor(power: Power) -> str:
    if power.smallest_above_floor is None:
        return ", and none has it for being above a floor that guesses too"
    return f", and {power.smallest_above_floor:.2f} to be above a floor that guesses too"
