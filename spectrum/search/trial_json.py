"""Records of a trial as JSON and back: epochs, predictions, and the line of a finished trial."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from spectrum.records import EpochRecord, FoldRecord, ScoreRecord, TrialEpochRecord

__all__ = [
    "fold_line",
    "mean_metrics",
    "record_from_json",
    "record_to_json",
    "score_from_json",
    "without_nan",
]


def record_to_json(record: TrialEpochRecord) -> dict[str, Any]:
    """Return an epoch of a trial as plain JSON, without the predictions; NaN becomes null."""
    plain = {
        "epoch": record.epoch,
        "finished": record.finished,
        "ended_folds": list(record.ended_folds),
        "score": record.score.to_json(),
        "folds": [
            {**fold.to_json(), **({"measured": fold.measured} if fold.measured else {})}
            for fold in record.folds
        ],
    }
    return {name: without_nan(value) for name, value in plain.items()}


def record_from_json(value: Mapping[str, Any]) -> TrialEpochRecord:
    """Return the epoch that ``record_to_json`` wrote; null losses become NaN."""
    return TrialEpochRecord(
        epoch=value["epoch"],
        finished=value["finished"],
        ended_folds=tuple(value.get("ended_folds", ())),
        score=score_from_json(value["score"]),
        folds=tuple(
            EpochRecord(**{name: _with_nan(entry) for name, entry in fold.items()})
            for fold in value["folds"]
        ),
    )


def score_from_json(value: Mapping[str, Any]) -> ScoreRecord:
    """Return the score that ``ScoreRecord.to_json`` wrote."""
    named = {name: _with_nan(entry) for name, entry in value.items()}
    return ScoreRecord(**{**named, "ci95": tuple(_with_nan(end) for end in value["ci95"])})


def fold_line(record: FoldRecord) -> dict[str, Any]:
    """Return what the line of a trial says of one fold."""
    plain = {
        "fold": record.fold,
        "held_out": record.held_out,
        "score": record.score,
        "loss": record.loss,
        "epoch": record.epoch,
        "num_training": record.num_training,
        "num_validation": record.num_validation,
    }
    return {name: without_nan(value) for name, value in plain.items()}


def mean_metrics(folds: Sequence[EpochRecord]) -> dict[str, float]:
    """Return the mean over folds of each loss, accuracy and further scalar of an epoch."""
    rows: list[dict[str, Any]] = [
        {
            name: value
            for name, value in {**asdict(fold), **fold.metrics}.items()
            if isinstance(value, float) and math.isfinite(value)
        }
        for fold in folds
    ]
    shared = set.intersection(*(set(row) for row in rows)) if rows else set()
    return {name: statistics.fmean(row[name] for row in rows) for name in sorted(shared)}


def without_nan(value: Any) -> Any:
    """Return a JSON value in which numbers that JSON cannot hold are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return value


def _with_nan(value: Any) -> Any:
    return math.nan if value is None else value
