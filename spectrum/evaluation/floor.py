"""The nested model of the floor: logistic regression on numbers that never saw brain signal.

Everything that is fitted (which columns are kept, medians, scales, the strength of the penalty,
the coefficients) is fitted on training units alone. Not here: which numbers it reads
(``predictors``) and what its score means (``audit``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

__all__ = ["PENALTIES", "FittedModel", "TrainingUnits", "fit_nested"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PENALTIES: Final = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse strengths C of the L2 penalty that the inner cross-validation chooses from."""

INNER_FOLDS: Final = 5
"""Folds of the inner cross-validation, at most."""

SMALLEST: Final = 1e-12
"""Probabilities below this count as this in the inner log-loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingUnits:
    """What a model is fitted on: values (N, P) with NaN where unknown, class (N,), group (N,)."""

    values: Floats
    class_index: Ints
    group: tuple[str, ...]

    def take(self, rows: Ints) -> TrainingUnits:
        """Return some of the units."""
        return TrainingUnits(
            values=self.values[rows],
            class_index=self.class_index[rows],
            group=tuple(self.group[row] for row in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """Multinomial logistic regression on standardised columns; plain arrays, nothing hidden.

    p(k | x) = softmax_k(coefficients_KP (x - mean_P) / scale_P + intercept_K), where unknown
    numbers of x are first set to median_P. ``columns`` are those kept of the values given;
    ``classes`` are the class indices of the K rows.
    """

    columns: Ints
    median_P: Floats
    mean_P: Floats
    scale_P: Floats
    coefficients_KP: Floats
    intercept_K: Floats
    classes: tuple[int, ...]
    penalty: float

    def probabilities(self, values: Floats) -> Floats:
        """Return (N, K) probabilities, rows adding up to 1."""
        kept = values[:, self.columns]
        filled = np.where(np.isnan(kept), self.median_P, kept)
        logits = (filled - self.mean_P) / self.scale_P @ self.coefficients_KP.T + self.intercept_K
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def fit_nested(
    units: TrainingUnits, *, is_centred: bool, penalties: Sequence[float] = PENALTIES
) -> FittedModel:
    """Fit the model, with the penalty that predicts held-out training groups best.

    Parameters
    ----------
    units : the training side of a fold
    is_centred : whether values are centred within pairs; the model then has no intercept
    penalties : inverse strengths C to choose from; a single one is taken as it is

    Returns
    -------
    model : fitted on all units with the chosen penalty
        Columns that are unknown or constant in training are left out. The penalty minimises the
        log-loss, balanced over classes, in a cross-validation over groups; ties go to the
        stronger.
    """
    if len(penalties) == 1:
        return _fit(units, penalties[0], is_centred=is_centred)
    losses = [_inner_loss(units, c, is_centred=is_centred) for c in sorted(penalties)]
    return _fit(units, sorted(penalties)[int(np.argmin(losses))], is_centred=is_centred)


def _inner_loss(units: TrainingUnits, penalty: float, *, is_centred: bool) -> float:
    num_folds = min(INNER_FOLDS, len(set(units.group)))
    if num_folds < 2:
        return 0.0
    classes = np.unique(units.class_index)
    losses, weights = [0.0], [0.0]
    splits = GroupKFold(num_folds).split(units.values, units.class_index, units.group)
    for training, held_out in splits:
        if np.unique(units.class_index[training]).size < classes.size:
            continue
        model = _fit(units.take(training), penalty, is_centred=is_centred)
        truth = np.searchsorted(classes, units.class_index[held_out])
        of_truth = model.probabilities(units.values[held_out])[np.arange(truth.size), truth]
        weight = 1 / np.bincount(np.searchsorted(classes, units.class_index))[truth]
        losses.append(float(-(weight * np.log(np.maximum(of_truth, SMALLEST))).sum()))
        weights.append(float(weight.sum()))
    return sum(losses) / max(sum(weights), SMALLEST)


def _fit(units: TrainingUnits, penalty: float, *, is_centred: bool) -> FittedModel:
    columns = _usable_columns(units.values)
    kept = units.values[:, columns]
    median = np.nanmedian(kept, axis=0) if columns.size else np.zeros(0)
    filled = np.where(np.isnan(kept), median, kept)
    mean, scale = filled.mean(axis=0), filled.std(axis=0)
    classes = np.unique(units.class_index)
    coefficients, intercept = _regress(
        (filled - mean) / scale, units.class_index, penalty, is_centred=is_centred
    )
    return FittedModel(
        columns=columns,
        median_P=median,
        mean_P=mean,
        scale_P=scale,
        coefficients_KP=coefficients,
        intercept_K=intercept,
        classes=tuple(classes.tolist()),
        penalty=penalty,
    )


def _usable_columns(values: Floats) -> Ints:
    """Return the columns that differ between units, beyond rounding."""
    usable = []
    for index, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        if known.size and np.ptp(known) > 1e-9 * np.abs(known).max():
            usable.append(index)
    return np.array(usable, dtype=np.int64)


def _regress(
    standard: Floats, class_index: Ints, penalty: float, *, is_centred: bool
) -> tuple[Floats, Floats]:
    """Return coefficients (K, P) and intercepts (K,); of two classes the first has zeros."""
    num_classes = np.unique(class_index).size
    if standard.shape[1] == 0:
        return np.zeros((num_classes, 0)), np.zeros(num_classes)
    model = LogisticRegression(
        C=penalty, class_weight="balanced", fit_intercept=not is_centred, max_iter=2000
    )
    model.fit(standard, class_index)
    coefficients = np.asarray(model.coef_, dtype=np.float64)
    intercept = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), len(coefficients))
    if num_classes == 2:
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercept = np.concatenate([np.zeros(1), intercept])
    return coefficients, np.array(intercept)
