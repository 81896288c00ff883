"""The floor: what a model reaches that never sees brain signal, on the same folds and score.

Design predictors (data set, task, run, session) are a table: one that defines the target can never
be its floor, the others are named beside it. Acquisition predictors go together into one nested
model, whose out-of-fold score is the floor. For a paired target the numbers are centred within the
pair. Not here: permutations of a trained model, and dissociations.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spectrum.config import FoldsConfig
from spectrum.data.folds import leakage_key
from spectrum.data.units import Fold, SequenceTable, Unit
from spectrum.evaluation.floor import PENALTIES, FittedModel, TrainingUnits, fit_nested
from spectrum.evaluation.predictors import (
    Floats,
    Predictors,
    acquisition_predictors,
    centre_pairs,
    design_values,
    has_events,
    one_hot,
    onset_predictor,
    response_predictors,
)
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions

if TYPE_CHECKING:
    from spectrum.evaluation.measured import MeasuredRuns
    from spectrum.targets import Target

__all__ = ["DesignScore", "FloorRecord", "fit_fold_floor", "measure_floor", "predict_from_numbers"]

SINGLE_PENALTY: Final = (1.0,)
"""Penalty of the models of one predictor: it hardly moves a single column's order of units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesignScore:
    """What one design predictor reaches alone, and whether it defines the target.

    It does where the class is a function of it in all units, scored or not; a score of 1 alone
    does not say so.
    """

    score: float
    ci95: tuple[float, float]
    defines_target: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorRecord:
    """The floor of a target under a scheme, with everything it should be read beside.

    ``floor`` is the score of the one nested model of all ``predictors``; ``acquisition`` holds the
    score of each of them alone; ``response`` of numbers that may be the BOLD response of an event,
    and are no part of the floor; ``left_out`` says which numbers no fold could use, and why;
    ``counts`` is the table of units by data set, task, session, run and class.
    """

    target: str
    scheme: str
    classes: tuple[str, ...]
    chance: float
    majority: ScoreRecord
    design: dict[str, DesignScore]
    acquisition: dict[str, ScoreRecord]
    response: dict[str, ScoreRecord]
    predictors: tuple[str, ...]
    left_out: dict[str, str]
    floor: ScoreRecord
    counts: tuple[dict[str, Any], ...]
    verdict: str

    @property
    def is_above_chance(self) -> bool:
        """Whether the floor's interval lies above chance: acquisition tells the classes apart."""
        return _is_above_chance(self.floor)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON, in which ``score`` repeats each score's ``value``."""
        return {
            "target": self.target,
            "scheme": self.scheme,
            "classes": list(self.classes),
            "chance": self.chance,
            "majority": _score_json(self.majority),
            "design": {name: asdict(score) for name, score in self.design.items()},
            "dataset": {"value": self.design["dataset"].score, **asdict(self.design["dataset"])},
            "acquisition": {name: _score_json(score) for name, score in self.acquisition.items()},
            "response": {name: _score_json(score) for name, score in self.response.items()},
            "predictors": list(self.predictors),
            "left_out": dict(self.left_out),
            "floor": _score_json(self.floor),
            "counts": list(self.counts),
            "verdict": self.verdict,
        }


def measure_floor(
    shards: MeasuredRuns,
    table: SequenceTable,
    folds: Sequence[Fold],
    *,
    target: Target,
    scheme: str,
    seed: int = 0,
) -> FloorRecord:
    """Score design and acquisition numbers on the folds that a model is scored on.

    Parameters
    ----------
    shards : its manifest holds quality numbers measured on the raw images
    table : the units of the target
    folds : as the model gets them; monitor units count as training
    target : its classes and whether it is paired
    scheme : of ``FoldsConfig``; decides whether inner folds keep subjects or runs whole
    seed : of bootstrap and permutations

    Returns
    -------
    record : see its fields
    """
    audit = _Audit(table=table, folds=tuple(folds), paired=target.paired, scheme=scheme, seed=seed)
    predictors = acquisition_predictors(shards, table)
    response = response_predictors(shards, table)
    models, floor = audit.fit(predictors, PENALTIES)
    used, left_out = _columns_used(models, predictors.names)
    design = _score_design(audit, shards)
    return FloorRecord(
        target=target.name,
        scheme=scheme,
        classes=table.classes,
        chance=floor.chance,
        majority=audit.score(_majority(audit)),
        design=design,
        acquisition={name: audit.fit(predictors.only(name), SINGLE_PENALTY)[1] for name in used},
        response={
            name: audit.fit(response.only(name), SINGLE_PENALTY)[1] for name in response.names
        },
        predictors=used,
        left_out=left_out,
        floor=floor,
        counts=_counts(table),
        verdict=_verdict(floor, design),
    )


def predict_from_numbers(
    predictors: Predictors,
    table: SequenceTable,
    folds: Sequence[Fold],
    *,
    target: Target,
    scheme: str,
) -> list[Prediction]:
    """Return the out-of-fold predictions of the floor's model of some numbers.

    Those of ``acquisition_predictors`` are the floor's own, to be compared with a model's.
    """
    audit = _Audit(table=table, folds=tuple(folds), paired=target.paired, scheme=scheme, seed=0)
    return audit.predict(predictors, PENALTIES)[1]


def fit_fold_floor(
    predictors: Predictors,
    table: SequenceTable,
    fold: Fold,
    *,
    paired: bool,
    scheme: str,
    penalties: Sequence[float] = PENALTIES,
) -> FittedModel:
    """Fit the nested model of one fold, on its training and monitor units alone."""
    rows = sorted((*fold.training, *fold.monitor))
    units = [table.units[row] for row in rows]
    values = predictors.values[rows]
    if paired:
        values = centre_pairs(Predictors(names=predictors.names, values=values), units).values
    key = leakage_key(FoldsConfig.model_validate({"scheme": scheme}))
    training = TrainingUnits(
        values=values,
        class_index=np.array([unit.class_index for unit in units], dtype=np.int64),
        group=tuple(key(unit) for unit in units),
    )
    return fit_nested(training, is_centred=paired, penalties=penalties)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audit:
    table: SequenceTable
    folds: tuple[Fold, ...]
    paired: bool
    scheme: str
    seed: int

    def score(self, predictions: Sequence[Prediction]) -> ScoreRecord:
        return score_predictions(
            predictions, classes=self.table.classes, paired=self.paired, seed=self.seed
        )

    def fit(
        self, predictors: Predictors, penalties: Sequence[float]
    ) -> tuple[list[FittedModel], ScoreRecord]:
        models, predictions = self.predict(predictors, penalties)
        return models, self.score(predictions)

    def predict(
        self, predictors: Predictors, penalties: Sequence[float]
    ) -> tuple[list[FittedModel], list[Prediction]]:
        models, predictions = [], []
        for fold in self.folds:
            model = fit_fold_floor(
                predictors,
                self.table,
                fold,
                paired=self.paired,
                scheme=self.scheme,
                penalties=penalties,
            )
            models.append(model)
            predictions += self._predict(model, predictors, fold)
        return models, predictions

    def _predict(self, model: FittedModel, predictors: Predictors, fold: Fold) -> list[Prediction]:
        rows = list(fold.validation)
        units = [self.table.units[row] for row in rows]
        held_out = Predictors(names=predictors.names, values=predictors.values[rows])
        if self.paired:
            held_out = centre_pairs(held_out, units)
        return _predictions(
            units, model.probabilities(held_out.values), model.classes, self.table.classes, fold
        )


def _predictions(
    units: Sequence[Unit],
    probabilities: Floats,
    columns: Sequence[int],
    classes: tuple[str, ...],
    fold: Fold,
) -> list[Prediction]:
    full = np.zeros((len(units), len(classes)))
    full[:, list(columns)] = probabilities
    return [
        unit.predicted(row.tolist(), classes=classes, fold=fold.name)
        for unit, row in zip(units, full, strict=True)
    ]


def _majority(audit: _Audit) -> list[Prediction]:
    """Predict the class frequencies of the training side for every held-out unit."""
    predictions = []
    for fold in audit.folds:
        units = [audit.table.units[row] for row in fold.validation]
        counts = Counter(
            audit.table.units[row].class_index for row in (*fold.training, *fold.monitor)
        )
        shares = np.array([counts[index] for index in fold.classes]) / counts.total()
        every = np.broadcast_to(shares, (len(units), shares.size))
        predictions += _predictions(units, every, fold.classes, audit.table.classes, fold)
    return predictions


def _score_design(audit: _Audit, shards: MeasuredRuns) -> dict[str, DesignScore]:
    values = design_values(audit.table)
    scores = {
        name: _design_score(
            audit.fit(one_hot(name, column), SINGLE_PENALTY)[1],
            defines_target=_defines(column, audit.table.units),
        )
        for name, column in values.items()
    }
    if has_events(audit.table):
        onset = audit.fit(onset_predictor(shards, audit.table), SINGLE_PENALTY)[1]
        scores["onset_s"] = _design_score(onset, defines_target=False)
    return scores


def _design_score(score: ScoreRecord, *, defines_target: bool) -> DesignScore:
    return DesignScore(
        score=score.value,
        ci95=score.ci95,
        defines_target=defines_target,
    )


def _defines(values: Sequence[str], units: Sequence[Unit]) -> bool:
    """Return whether each value of a design predictor goes with one class only, in all units.

    A score of 1 says less: folds leave out units whose class the other side lacks.
    """
    classes_of: defaultdict[str, set[int]] = defaultdict(set)
    for value, unit in zip(values, units, strict=True):
        classes_of[value].add(unit.class_index)
    return all(len(classes) == 1 for classes in classes_of.values())


def _columns_used(
    models: Sequence[FittedModel], names: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, str]]:
    folds_of = Counter(int(column) for model in models for column in model.columns)
    used = tuple(name for index, name in enumerate(names) if folds_of[index])
    left_out = {
        name: f"unknown or constant in training in {len(models) - folds_of[index]} "
        f"of {len(models)} folds"
        for index, name in enumerate(names)
        if folds_of[index] < len(models)
    }
    return used, left_out


def _counts(table: SequenceTable) -> tuple[dict[str, Any], ...]:
    rows = Counter(
        (u.key.dataset, u.key.task, u.key.session, u.key.run, table.classes[u.class_index])
        for u in table.units
    )
    names = ("dataset", "task", "session", "run", "class")
    return tuple(
        {**dict(zip(names, row, strict=True)), "num_units": count}
        for row, count in sorted(rows.items())
    )


def _is_above_chance(floor: ScoreRecord) -> bool:
    return floor.ci95[0] > floor.chance


def _verdict(floor: ScoreRecord, design: Mapping[str, DesignScore]) -> str:
    interval = f"95 % interval {floor.ci95[0]:.2f} to {floor.ci95[1]:.2f}"
    found = f"Acquisition numbers alone score {floor.value:.2f} ({interval})"
    where = "above" if _is_above_chance(floor) else "not above"
    bar = f"{where} chance {floor.chance:.2f}, and a model must beat {_bar(floor):.2f}"
    defining = _smallest([name for name, score in design.items() if score.defines_target])
    verb = "defines" if len(defining) == 1 else "define"
    also = f"; {' and '.join(defining)} {verb} the target, and no score can tell them apart"
    return f"{found}, {bar}{also if defining else ''}."


def _bar(floor: ScoreRecord) -> float:
    return max(floor.value, floor.chance)


def _smallest(names: Sequence[str]) -> list[str]:
    """Leave out combinations of which a part is named already."""
    parts = {name: set(name.split("+")) for name in names}
    return [name for name in names if not any(other < parts[name] for other in parts.values())]


def _score_json(score: ScoreRecord) -> dict[str, Any]:
    return {"score": score.value, **score.to_json()}
