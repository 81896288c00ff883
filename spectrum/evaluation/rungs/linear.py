"""Linear rungs: logistic regression on parcels, and a linear SVM on responses to events.

For a target of events both see the event: its mean in each parcel, or its own GLM coefficient in
each voxel. For a target of runs parcels give the run's correlations (a mean over the run is gone
once series are standardised), and the GLM gives the response to all events of the run together;
runs without events have none, and the rung says so. Where pairs are scored, features are centred
within the pair, as the floor's are. Not here: parcels (``parcels``) and coefficients
(``responses``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from sklearn.svm import SVC

from spectrum.data.units import Fold
from spectrum.evaluation.audit import fit_fold_floor
from spectrum.evaluation.predictors import Predictors, centre_pairs, has_events
from spectrum.evaluation.rungs.guesses import FittedNumbers
from spectrum.evaluation.rungs.parcels import Parcellation, fit_mask, fit_parcels
from spectrum.evaluation.rungs.question import (
    FittedRung,
    Floats,
    Ints,
    Question,
    training_rows,
)
from spectrum.evaluation.rungs.responses import response_maps, responses_obstacle

__all__ = ["ParcelLogistic", "ResponseSvm"]

INNER_FOLDS: Final = 5

COSTS: Final = (0.001, 0.01, 0.1, 1.0, 10.0)
"""C of the SVM that inner folds choose from; kernels are divided by the number of voxels."""


@dataclass(frozen=True, slots=True)
class ParcelLogistic:
    """Nested logistic regression on parcels."""

    name: str = "parcels"
    about: str = "logistic regression on parcels fitted in the fold"

    def obstacle(self, question: Question) -> str:
        """Return nothing: every shard set has voxels."""
        del question
        return ""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Find parcels, then fit the floor's kind of model on them."""
        parcels = fit_parcels(question, fold)
        rows = sorted((*training_rows(fold), *fold.validation))
        values = parcel_features(question, parcels, rows)
        predictors = Predictors(names=tuple(str(i) for i in range(values.shape[1])), values=values)
        model = fit_fold_floor(
            predictors, question.table, fold, paired=question.paired, scheme=question.scheme
        )
        return _FittedParcels(FittedNumbers(model, values, question), parcels)


@dataclass(frozen=True, slots=True)
class _FittedParcels:
    numbers: FittedNumbers
    parcels: Parcellation

    @property
    def state(self) -> Mapping[str, Any]:
        return {
            **self.numbers.state,
            "mask_SHW": self.parcels.mask_SHW,
            "weights_PN": self.parcels.weights_PN,
        }

    @property
    def chosen(self) -> Mapping[str, float]:
        return {**self.numbers.chosen, "num_parcels": self.parcels.num_parcels}

    def probabilities(self, rows: Sequence[int]) -> Floats:
        return self.numbers.probabilities(rows)


def parcel_features(question: Question, parcels: Parcellation, rows: Sequence[int]) -> Floats:
    """Return the features of some units of the table, (units, features), NaN for all others."""
    of_events = has_events(question.table)
    found: dict[int, Floats] = {}
    run_of = {row: question.table.units[row].run_index for row in rows}
    for run in sorted(set(run_of.values())):
        series_VP = parcels.series(question.volumes(run))
        for row in (row for row in rows if run_of[row] == run):
            if of_events:
                inside = series_VP[question.volumes_of_unit(row)]
                found[row] = inside.mean(axis=0) - series_VP.mean(axis=0)
            else:
                found[row] = _correlations(series_VP)
    values = np.full((len(question.table.units), len(next(iter(found.values())))), np.nan)
    for row, features in found.items():
        values[row] = features
    return values


def _correlations(series_VP: Floats) -> Floats:
    """Return the correlations between parcels after Fisher's transform, 0 with a constant one."""
    centred = series_VP - series_VP.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    upper = np.triu_indices(series_VP.shape[1], k=1)
    return np.asarray(np.arctanh(np.clip((unit.T @ unit)[upper], -0.999, 0.999)))


@dataclass(frozen=True, slots=True)
class ResponseSvm:
    """Linear SVM on the coefficients of a GLM, voxel by voxel."""

    name: str = "glm"
    about: str = "linear SVM on the voxels' responses to events (nilearn's first-level GLM)"
    _maps: list[tuple[object, dict[int, Floats]]] = field(
        default_factory=list, compare=False, repr=False
    )

    def obstacle(self, question: Question) -> str:
        """Say which runs have no events."""
        return responses_obstacle(question)

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Standardise the voxels of the training side and fit, with C from inner folds."""
        maps, rows = self._maps_of(question), training_rows(fold)
        mask = fit_mask(question, fold).ravel()
        values = _unit_values(question, maps, mask, rows)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        standard = (values - mean) / scale / np.sqrt(mask.sum())
        cost = _choose_cost(question, rows, standard)
        svm = _fit_svm(standard @ standard.T, question.classes(rows), cost)
        return _FittedSvm(
            svm=svm,
            standard=standard,
            mean=mean,
            scale=scale,
            mask=mask,
            cost=cost,
            maps=maps,
            question=question,
        )

    def _maps_of(self, question: Question) -> dict[int, Floats]:
        """Return the responses, computed once for all folds and permutations of the same runs."""
        source = question.sequences.read_run
        if not self._maps or self._maps[0][0] is not source:
            self._maps[:] = [(source, response_maps(question))]
        return self._maps[0][1]


def _unit_values(
    question: Question, maps: Mapping[int, Floats], mask: Any, rows: Sequence[int]
) -> Floats:
    values = np.stack([maps[row][mask] for row in rows]).astype(np.float64)
    if not question.paired:
        return values
    names = tuple(str(i) for i in range(values.shape[1]))
    return centre_pairs(Predictors(names=names, values=values), question.units(rows)).values


def _fit_svm(kernel: Floats, classes: Ints, cost: float) -> SVC:
    svm = SVC(C=cost, kernel="precomputed", class_weight="balanced", decision_function_shape="ovr")
    return svm.fit(kernel, classes)


def _choose_cost(question: Question, rows: list[int], standard: Floats) -> float:
    """Return the cost with the best balanced accuracy on inner folds; ties go to the smaller."""
    kernel, classes = standard @ standard.T, question.classes(rows)
    place = {row: index for index, row in enumerate(rows)}
    right = np.zeros((len(COSTS), int(classes.max()) + 1))
    for kept, left_out in question.inner_folds(rows, INNER_FOLDS):
        inside, outside = ([place[row] for row in part] for part in (kept, left_out))
        for index, cost in enumerate(COSTS):
            svm = _fit_svm(kernel[np.ix_(inside, inside)], classes[inside], cost)
            found = svm.predict(kernel[np.ix_(outside, inside)])
            np.add.at(right[index], classes[outside], (found == classes[outside]).astype(float))
    totals = np.maximum(np.bincount(classes), 1)
    return COSTS[int(np.argmax((right / totals).sum(axis=1)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _FittedSvm:
    svm: SVC
    standard: Floats
    mean: Floats
    scale: Floats
    mask: Any
    cost: float
    maps: Mapping[int, Floats]
    question: Question

    @property
    def state(self) -> Mapping[str, Any]:
        return {
            "mask": self.mask,
            "mean": self.mean,
            "scale": self.scale,
            "cost": np.array(self.cost),
            "support": self.svm.support_,
            "dual": self.svm.dual_coef_,
            "intercept": self.svm.intercept_,
            "support_vectors": self.standard[self.svm.support_],
        }

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"C": self.cost}

    def probabilities(self, rows: Sequence[int]) -> Floats:
        """Return a softmax of the decision values: the order is the SVM's, the size is not."""
        values = _unit_values(self.question, self.maps, self.mask, rows)
        held_out = (values - self.mean) / self.scale / np.sqrt(self.mask.sum())
        decision = self.svm.decision_function(held_out @ self.standard.T)
        if decision.ndim == 1:
            decision = np.column_stack([np.zeros_like(decision), decision])
        weights = np.exp(decision - decision.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
