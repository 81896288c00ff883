"""The lowest rungs: class frequencies, and the floor's model of acquisition numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectrum.data.units import Fold
from spectrum.evaluation.audit import fit_fold_floor
from spectrum.evaluation.floor import FittedModel
from spectrum.evaluation.predictors import Predictors, acquisition_predictors, centre_pairs
from spectrum.evaluation.rungs.question import FittedRung, Floats, Question, training_rows

__all__ = ["Dummy", "Floor"]


@dataclass(frozen=True, slots=True)
class Dummy:
    """Answers with the class frequencies of the training side."""

    name: str = "dummy"
    about: str = "class frequencies of the training side"

    def obstacle(self, question: Question) -> str:
        """Return nothing: it can always be asked."""
        return ""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Count classes."""
        counts = np.bincount(question.classes(training_rows(fold)))
        return _Guess(counts[counts > 0] / counts.sum())


@dataclass(frozen=True, slots=True)
class _Guess:
    shares_K: Floats

    @property
    def state(self) -> Mapping[str, Any]:
        return {"shares_K": self.shares_K}

    @property
    def chosen(self) -> Mapping[str, float]:
        return {}

    def probabilities(self, rows: Sequence[int]) -> Floats:
        return np.tile(self.shares_K, (len(rows), 1))


@dataclass(frozen=True, slots=True)
class Floor:
    """The nested model of acquisition numbers: the floor itself."""

    name: str = "floor"
    about: str = "nested logistic regression on acquisition numbers; sees no brain signal"

    def obstacle(self, question: Question) -> str:
        """Return nothing: it can always be asked."""
        return ""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Fit the floor's model."""
        predictors = acquisition_predictors(question.runs, question.table)
        model = fit_fold_floor(
            predictors, question.table, fold, paired=question.paired, scheme=question.scheme
        )
        return FittedNumbers(model, predictors.values, question)


@dataclass(frozen=True, slots=True)
class FittedNumbers:
    """The floor's kind of model, with the numbers of all units."""

    model: FittedModel
    values: Floats
    question: Question

    @property
    def state(self) -> Mapping[str, Any]:
        """All arrays of the model."""
        model = self.model
        return {
            "columns": model.columns,
            "median_P": model.median_P,
            "mean_P": model.mean_P,
            "scale_P": model.scale_P,
            "coefficients_KP": model.coefficients_KP,
            "intercept_K": model.intercept_K,
            "penalty": np.array(model.penalty),
        }

    @property
    def chosen(self) -> Mapping[str, float]:
        """The inverse strength of the penalty."""
        return {"C": self.model.penalty}

    def probabilities(self, rows: Sequence[int]) -> Floats:
        """Return the model's answer, of numbers centred within pairs where these are scored."""
        names = tuple(str(i) for i in range(self.values.shape[1]))
        held_out = Predictors(names=names, values=self.values[list(rows)])
        if self.question.paired:
            held_out = centre_pairs(held_out, self.question.units(rows))
        return self.model.probabilities(held_out.values)
