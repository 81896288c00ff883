"""Curves of predictions: ROC of a class against the rest, and confidence against accuracy.

Not here: drawing (``spectrum.report``), and the single numbers beside them, AUC and calibration
error (``metrics``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from spectrum.records import Prediction
from spectrum.scores.checking import classes_of_fold, stack_probabilities, true_classes
from spectrum.scores.metrics import NUM_BINS

__all__ = ["CalibrationBin", "RocCurve", "calibration_bins", "roc_of_class"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RocCurve:
    """One class against the rest; rates lie in [0, 1], both rise from (0, 0) to (1, 1)."""

    auc: float
    num_class: int
    num_rest: int
    false_positive: NDArray[np.float64]
    true_positive: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Units of about one confidence: how many, how sure on average, how often right.

    ``ci95`` is Wilson's interval of the share that is right; it takes units as independent.
    """

    num_units: int
    confidence: float
    accuracy: float
    ci95: tuple[float, float]


def roc_of_class(
    predictions: Sequence[Prediction], classes: tuple[str, ...], name: str
) -> RocCurve | None:
    """Return the ROC curve of a class over the folds that could answer it.

    Parameters
    ----------
    predictions : one for each validation unit
    classes : K names, in the order of the probabilities
    name : the class

    Returns
    -------
    curve
        None where no unit, or every unit, has the class.
    """
    open_in = classes_of_fold(predictions)
    asked = [prediction for prediction in predictions if name in open_in[prediction.fold]]
    is_class = np.array([prediction.true_class == name for prediction in asked], dtype=bool)
    if not is_class.any() or is_class.all():
        return None
    column = classes.index(name)
    probability = np.array([prediction.probabilities[column] for prediction in asked])
    false_positive, true_positive, _ = roc_curve(is_class, probability)
    return RocCurve(
        auc=float(roc_auc_score(is_class, probability)),
        num_class=int(is_class.sum()),
        num_rest=int((~is_class).sum()),
        false_positive=false_positive,
        true_positive=true_positive,
    )


def calibration_bins(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> tuple[CalibrationBin, ...]:
    """Return the filled bins of the calibration error, from the least to the most sure."""
    probabilities = stack_probabilities(predictions)
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == true_classes(predictions, classes)
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    return tuple(_bin(confidence[bins == at], is_right[bins == at]) for at in np.unique(bins))


def _bin(confidence: NDArray[np.float64], is_right: NDArray[np.bool_]) -> CalibrationBin:
    share = binomtest(int(is_right.sum()), is_right.size)
    low, high = share.proportion_ci(confidence_level=0.95, method="wilson")
    return CalibrationBin(
        num_units=is_right.size,
        confidence=float(confidence.mean()),
        accuracy=float(is_right.mean()),
        ci95=(float(low), float(high)),
    )
