"""What of a record goes to Aim, under which name, in which context; pure, without aim.

Aim takes finite Python numbers as metrics. Numbers that are not finite are named apart, so that
they are neither dropped nor plotted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spectrum.config import set_paths
from spectrum.records import EpochRecord, TrialEpochRecord

__all__ = [
    "MANAGED_TAGS",
    "DatasetOfSide",
    "TrackedValue",
    "datasets_of_sides",
    "description_of",
    "floor_params",
    "nested",
    "outcome_params",
    "plain",
    "safe_name",
    "safe_text",
    "tags_of_line",
    "values_of_epoch",
]

ALL_FOLDS: Final = "all"
MAX_TEXT: Final = 2000
"""Characters kept of a text; an error message may carry a whole log."""

MANAGED_TAGS: Final = ("complete", "pruned", "failed", "best", "default", "pareto", "nonfinite")
"""Tags that are set and taken away here (``failed:<kind>``). All others are the user's."""

OUT_OF_MEMORY: Final = ("OutOfMemoryError", "MemoryError", "out-of-memory")
"""Kinds of failure that are tagged ``failed:oom``: torch's, Python's, and ours."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.:+/ -]")
_MARKUP = str.maketrans({"<": "\u2039", ">": "\u203a"})

DatasetOfSide = Mapping[tuple[str, str], str]
"""The one data set of a side of a fold, by the names of the two; mixed sides are not in it."""


@dataclass(frozen=True, slots=True)
class TrackedValue:
    """One number of one epoch: its name, its fold ("all" for pooled) and its side of the fold.

    ``dataset`` is "" where the number is of several data sets.
    """

    name: str
    fold: str
    role: str
    value: float
    dataset: str = ""

    @property
    def is_finite(self) -> bool:
        """Whether Aim can plot it."""
        return math.isfinite(self.value)

    @property
    def context(self) -> dict[str, str]:
        """What Aim tells it apart by from others of its name."""
        context = {"fold": self.fold, "role": self.role}
        return {**context, "dataset": self.dataset} if self.dataset else context


def values_of_epoch(
    record: TrialEpochRecord, datasets: DatasetOfSide | None = None
) -> tuple[TrackedValue, ...]:
    """Return every number of an epoch: fold by fold, pooled, and the score of each data set.

    Pooled loss and accuracy are plain means over the folds; the score is the record's own, and
    that of a data set the mean over its subjects.

    Parameters
    ----------
    datasets : of ``datasets_of_sides``; None knows of no data set
    """
    per_fold = [value for fold in record.folds for value in _values_of_fold(fold, datasets or {})]
    return (*per_fold, *_pooled_values(record), *_scores_of_datasets(record))


def _values_of_fold(fold: EpochRecord, datasets: DatasetOfSide) -> Iterator[TrackedValue]:
    name = safe_name(fold.fold)
    numbers = {
        ("loss", "training"): fold.training_loss,
        ("accuracy", "training"): fold.training_accuracy,
        ("loss", "validation"): fold.validation_loss,
        ("accuracy", "validation"): fold.validation_accuracy,
        ("lr", "training"): fold.lr,
        **{(metric, "training"): value for metric, value in fold.measured.items()},
    }
    for metric, value in fold.metrics.items():
        role = "validation" if metric.startswith("validation_") else "training"
        numbers[safe_name(metric.removeprefix(f"{role}_")), role] = value
    for (metric, role), value in numbers.items():
        dataset = datasets.get((fold.fold, role), "")
        yield TrackedValue(metric, name, role, float(value), dataset)


def _pooled_values(record: TrialEpochRecord) -> Iterator[TrackedValue]:
    score = record.score
    pooled = {"score": score.value, "score_ci_low": score.ci95[0], "score_ci_high": score.ci95[1]}
    if record.folds:
        num_folds = len(record.folds)
        pooled["loss"] = sum(fold.validation_loss for fold in record.folds) / num_folds
        pooled["accuracy"] = sum(fold.validation_accuracy for fold in record.folds) / num_folds
        pooled["lr"] = sum(fold.lr for fold in record.folds) / num_folds
    for name, value in pooled.items():
        yield TrackedValue(name, ALL_FOLDS, "validation", float(value))


def _scores_of_datasets(record: TrialEpochRecord) -> Iterator[TrackedValue]:
    of_dataset: dict[str, list[float]] = {}
    for group, value in record.score.by_group.items():
        of_dataset.setdefault(group.partition("/")[0], []).append(value)
    for dataset, values in of_dataset.items():
        mean = sum(values) / len(values)
        yield TrackedValue("score", ALL_FOLDS, "validation", mean, safe_name(dataset))


def datasets_of_sides(folds: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return the data set of each side of a fold that has one alone.

    Parameters
    ----------
    folds : of a fold manifest, each with its name and the units of its sides
    """
    found = {}
    for fold in folds:
        for role in ("training", "validation"):
            names = {str(unit).partition("/")[0] for unit in fold.get(role) or ()}
            if len(names) == 1:
                found[str(fold["name"]), role] = safe_name(names.pop())
    return found


def floor_params(floor: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a score is read against: floor, majority and chance, as numbers to query by."""
    params = {f"{name}": _score_value(floor.get(name)) for name in ("majority", "dataset")}
    params["score"] = _score_value(floor.get("floor"))
    params["chance"] = plain(floor.get("chance"))
    if floor.get("verdict"):
        params["verdict"] = plain(floor["verdict"])
    return {name: value for name, value in params.items() if value is not None}


def _score_value(score: Any) -> Any:
    return plain(score.get("value") if isinstance(score, Mapping) else score)


def outcome_params(line: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the parameters that a finished trial's line adds, by top-level name."""
    score = line.get("score") or {}
    low, high = score.get("ci95") or (None, None)
    numbers = {
        "score": score.get("value"),
        "ci95_low": low,
        "ci95_high": high,
        "p": score.get("p"),
        "num_units": score.get("num_units"),
        "num_groups": score.get("num_groups"),
    }
    outcome = {name: line.get(name) for name in ("state", "num_epochs", "seconds", "started")}
    trial = {"number": line["number"], **outcome, **numbers, "error": line.get("error")}
    folds = {
        safe_name(str(fold.get("fold", index))): fold
        for index, fold in enumerate(line.get("folds") or ())
    }
    sections = {"trial": trial, "folds": folds, "metrics": line.get("metrics") or {}}
    return {name: _without_none(plain(section)) for name, section in sections.items() if section}


def description_of(params: Mapping[str, Any]) -> str:
    """Return what the search chose for a trial in one line, as Aim's tables show it.

    Names are the last parts of the paths; Aim's own columns have the whole ones.
    """
    return ", ".join(
        f"{path.rpartition('.')[2]} {_short(value)}" for path, value in sorted(params.items())
    )


def _short(value: Any) -> str:
    return safe_text(f"{value:.3g}" if isinstance(value, float) else str(plain(value)))


def tags_of_line(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tag that a trial's state alone decides."""
    if line["state"] == "failed":
        kind = (line.get("error") or {}).get("kind") or "unknown"
        return ("failed:oom" if kind in OUT_OF_MEMORY else f"failed:{safe_name(str(kind))}",)
    return (str(line["state"]),)


def nested(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping whose dotted names have become levels, ready for Aim."""
    result = plain(set_paths({}, mapping))
    assert isinstance(result, dict)
    return result


def plain(value: Any) -> Any:
    """Return a value as Aim takes it: JSON types only, numbers finite, texts of bounded length.

    NumPy scalars and arrays become Python numbers and lists; numbers that are not finite become
    the texts ``nan``, ``inf`` and ``-inf``; anything unknown becomes its text.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return str(value)[:MAX_TEXT]


def safe_name(name: str) -> str:
    """Return a name without markup, control characters and excessive length."""
    return _UNSAFE.sub("_", name)[:200] or "_"


def safe_text(text: str) -> str:
    """Return a text without markup, as Aim's page may take a text for a part of itself."""
    return text.translate(_MARKUP)


def _without_none(section: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if value is not None}
