"""Further metrics beside the score: none alone tells the truth about a classifier.

Accuracy, balanced accuracy, macro F1, kappa, AUC of each class, log-loss, calibration error (ECE)
and the confusion table, over all units and for each data set. What is undefined is None, with a
reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, roc_auc_score

from spectrum.records import Prediction
from spectrum.scores.checking import (
    check_predictions,
    classes_of_fold,
    stack_probabilities,
    true_classes,
)

__all__ = ["calibration_error", "further_metrics", "sequence_confusion"]

NUM_BINS: Final = 10
"""Bins of equal width of the calibration error (Guo et al. 2017 use 15, for larger sets)."""

SMALLEST: Final = float(np.finfo(np.float32).eps)
"""Probabilities below this count as this in the log-loss, which stays finite."""


def further_metrics(predictions: Sequence[Prediction], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return metrics of pooled predictions by name, as plain JSON.

    Parameters
    ----------
    predictions : one for each validation unit, from all folds
    classes : K names, in the order of the probabilities

    Returns
    -------
    metrics : name -> value
        ``log_loss`` in nats; ``auc`` and ``auc_reason`` by class, one against the rest, over the
        folds that could answer the class; ``ece`` is the calibration error; rows of ``confusion``
        are true classes; ``by_dataset`` holds the same for each data set where there are several.
    """
    check_predictions(predictions, classes)
    datasets = sorted({prediction.dataset for prediction in predictions})
    metrics = _metrics(predictions, classes)
    if len(datasets) > 1:
        metrics["by_dataset"] = {
            name: _metrics([p for p in predictions if p.dataset == name], classes)
            for name in datasets
        }
    return metrics


def sequence_confusion(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> list[list[int]] | None:
    """Return how often single sequences of each true class, (K, K), were taken for each class.

    None where no sequences were counted.
    """
    counted = [p for p in predictions if p.sequence_answers]
    if not counted:
        return None
    table = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for row, prediction in zip(true_classes(counted, classes), counted, strict=True):
        table[row] += np.array(prediction.sequence_answers)
    return [[int(count) for count in row] for row in table]


def _metrics(predictions: Sequence[Prediction], classes: tuple[str, ...]) -> dict[str, Any]:
    probabilities = stack_probabilities(predictions)
    truth = true_classes(predictions, classes)
    answers = probabilities.argmax(axis=1)
    present = np.unique(truth)
    confusion = confusion_matrix(truth, answers, labels=np.arange(len(classes)))
    auc, reasons = _auc(predictions, classes)
    return {
        "num_units": int(truth.size),
        "accuracy": float((truth == answers).mean()),
        "balanced_accuracy": float(np.mean([(answers[truth == k] == k).mean() for k in present])),
        "macro_f1": float(
            f1_score(truth, answers, labels=present, average="macro", zero_division=0.0)
        ),
        "kappa": _kappa(truth, answers),
        "auc": auc,
        "auc_reason": reasons,
        "log_loss": _log_loss(probabilities, truth),
        "ece": calibration_error(probabilities, truth),
        "confusion": confusion.tolist(),
        "classes": list(classes),
    }


def _kappa(truth: NDArray[np.int64], answers: NDArray[np.int64]) -> float | None:
    """Return Cohen's kappa; None where truth and answers are one and the same single class."""
    if np.unique(np.concatenate([truth, answers])).size < 2:
        return None
    return float(cohen_kappa_score(truth, answers))


def _log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    of_truth = probabilities[np.arange(truth.size), truth]
    return float(-np.log(np.clip(of_truth, SMALLEST, 1.0)).mean())


def calibration_error(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Return the expected calibration error: mean distance of confidence and accuracy in bins.

    Parameters
    ----------
    probabilities : (N, K)
    truth : (N,) index of the true class

    Returns
    -------
    error : [0, 1]
    """
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=NUM_BINS)
    return float(np.abs(gaps).sum() / truth.size)


def _auc(
    predictions: Sequence[Prediction], classes: tuple[str, ...]
) -> tuple[dict[str, float | None], dict[str, str]]:
    open_in = classes_of_fold(predictions)
    values: dict[str, float | None] = {}
    reasons = {}
    for index, name in enumerate(classes):
        asked = [p for p in predictions if name in open_in[p.fold]]
        is_class = [p.true_class == name for p in asked]
        values[name] = None
        if not any(is_class):
            reasons[name] = "no unit has this class"
        elif all(is_class):
            reasons[name] = "all units have this class"
        else:
            values[name] = float(roc_auc_score(is_class, [p.probabilities[index] for p in asked]))
    return values, reasons
