"""The trials of a study folder as records again, so that Aim can be made equal to them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spectrum.errors import SearchError
from spectrum.records import EpochRecord, ScoreRecord, TrialEpochRecord

__all__ = ["StudyTrials", "epoch_from_json", "read_trials"]


@dataclass(frozen=True, slots=True)
class StudyTrials:
    """What a study folder says of its trials: the last line of each, and those without one yet."""

    folder: Path
    lines: tuple[Mapping[str, Any], ...]
    unfinished: tuple[int, ...]

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of all trials that the folder knows."""
        return frozenset({line["number"] for line in self.lines} | set(self.unfinished))

    @property
    def best(self) -> int | None:
        """The complete trial with the highest value, the first of equals."""
        values = {
            line["number"]: line["value"]
            for line in self.lines
            if line["state"] == "complete" and line.get("value") is not None
        }
        return max(values, key=lambda number: (values[number], -number)) if values else None

    def tags_of(self, number: int) -> tuple[str, ...]:
        """Return the tags that a trial has by its place in the study."""
        best = ("best",) if number == self.best else ()
        return (*best, "default") if number == 0 else best

    def records_of(self, number: int) -> Iterator[TrialEpochRecord]:
        """Yield the epochs of a trial in the order in which they were written."""
        for value in _json_lines(self.folder / "trials" / str(number) / "records.jsonl"):
            yield epoch_from_json(value)


def read_trials(folder: Path) -> StudyTrials:
    """Read which trials a study folder has.

    Raises
    ------
    SearchError
        Where there is no such folder.
    """
    if not folder.is_dir():
        raise SearchError(f"{folder} is no folder. Give the folder of a study.")
    by_number = {line["number"]: line for line in _json_lines(folder / "trials.jsonl")}
    begun = {
        int(path.parent.name)
        for path in folder.glob("trials/*/records.jsonl")
        if path.parent.name.isdigit()
    }
    lines = tuple(by_number[number] for number in sorted(by_number))
    return StudyTrials(folder, lines, tuple(sorted(begun - by_number.keys())))


def epoch_from_json(value: Mapping[str, Any]) -> TrialEpochRecord:
    """Return the record that a line of ``records.jsonl`` was written from, without predictions."""
    score = _fields_of(ScoreRecord, value["score"])
    score["ci95"] = tuple(_number(bound) for bound in score["ci95"])
    return TrialEpochRecord(
        epoch=int(value["epoch"]),
        score=ScoreRecord(**{**score, "value": _number(score["value"])}),
        folds=tuple(_fold_from_json(fold) for fold in value["folds"]),
        finished=bool(value.get("finished", False)),
    )


def _fold_from_json(value: Mapping[str, Any]) -> EpochRecord:
    record = _fields_of(EpochRecord, value)
    numbers = (
        "training_loss",
        "training_accuracy",
        "validation_loss",
        "validation_accuracy",
        "lr",
    )
    metrics = {name: _number(metric) for name, metric in (record.get("metrics") or {}).items()}
    found = {name: _number(record[name]) for name in numbers}
    return EpochRecord(**{**record, **found, "metrics": metrics, "predictions": ()})


def _fields_of(kind: type, value: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: value[field.name] for field in fields(kind) if field.name in value}


def _number(value: Any) -> float:
    """Return a number; JSON without NaN writes null or a word for those that are not finite."""
    return math.nan if value is None else float(value)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file; a last line that was torn by a kill is left out."""
    if not path.is_file():
        return
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
