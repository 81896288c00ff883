"""Arithmetic on predictions: the score, its interval and test, and further metrics.

The score is defined here and nowhere else. Not here: where predictions come from, and the floor
(``spectrum.evaluation``), which is scored by the same function.
"""

from spectrum.scores.curves import calibration_bins, roc_of_class
from spectrum.scores.metrics import further_metrics, sequence_confusion
from spectrum.scores.pooled import score_predictions

__all__ = [
    "calibration_bins",
    "further_metrics",
    "roc_of_class",
    "score_predictions",
    "sequence_confusion",
]
