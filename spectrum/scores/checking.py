"""Predictions at the doorway of the scores: complete, finite, and each unit once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import DataError
from spectrum.records import Prediction

__all__ = ["check_predictions", "classes_of_fold", "stack_probabilities", "true_classes"]


def check_predictions(predictions: Sequence[Prediction], classes: Sequence[str]) -> None:
    """Raise DataError on predictions that would make a score silently wrong."""
    if not predictions:
        raise _bad("There is no prediction. Expected one for each validation unit")
    for prediction in predictions:
        if prediction.true_class not in classes:
            raise _bad(
                f"{prediction.unit} has the class {prediction.true_class!r}. "
                f"Expected one of {', '.join(classes)}"
            )
        if len(prediction.probabilities) != len(classes):
            raise _bad(
                f"{prediction.unit} has {len(prediction.probabilities)} probabilities. "
                f"Expected one for each of {len(classes)} classes"
            )
        if not np.isfinite(prediction.probabilities).all():
            raise _bad(
                f"{prediction.unit} has the probabilities {prediction.probabilities}. "
                "Expected finite numbers; lower optimizer.lr or use precision float32"
            )
    twice = [u for u, n in Counter(p.unit for p in predictions).items() if n > 1]
    if twice:
        raise _bad(f"{twice[0]} is predicted more than once. Expected each unit in one fold")


def _bad(message: str) -> DataError:
    return DataError(f"{message}.", code="bad-prediction")


def stack_probabilities(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Return the probabilities, one row a prediction."""
    return np.array([prediction.probabilities for prediction in predictions], dtype=np.float64)


def true_classes(predictions: Sequence[Prediction], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each prediction's true class."""
    return np.array([classes.index(p.true_class) for p in predictions], dtype=np.int64)


def classes_of_fold(predictions: Sequence[Prediction]) -> dict[str, frozenset[str]]:
    """Return the classes that each fold could answer.

    A fold's classes are those that both its sides have, so they are the true classes of its
    validation units; the others are masked.
    """
    return {
        fold: frozenset(p.true_class for p in predictions if p.fold == fold)
        for fold in dict.fromkeys(p.fold for p in predictions)
    }
