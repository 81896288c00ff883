"""What a study searches for, as numbers of a trial, and the trials that no other one beats.

Pure, but for reading the size of a model from its checkpoint. Not here: which of them a pruner
compares, which is the score always (``optuna_study``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from spectrum.errors import SearchError
from spectrum.search.settings import ObjectiveName

__all__ = ["HIGHER_IS_BETTER", "num_parameters", "pareto_front", "value_of"]

HIGHER_IS_BETTER: Final[Mapping[ObjectiveName, bool]] = {
    "score": True,
    "worst_dataset": True,
    "seconds": False,
    "parameters": False,
}
"""Which way each objective is to go."""

LENGTH_BYTES: Final = 8
"""Bytes of a safetensors file that say how long its header is."""


def value_of(name: ObjectiveName, line: Mapping[str, Any], folder: Path) -> float:
    """Return an objective of a complete trial.

    Parameters
    ----------
    line : of the trial
    folder : of the trial, with its checkpoints
    """
    if name == "score":
        return float(line["value"])
    if name == "seconds":
        return float(line["seconds"])
    if name == "worst_dataset":
        return worst_dataset(line["score"]["by_group"], line["value"])
    return float(num_parameters(folder))


def worst_dataset(by_group: Mapping[str, float], score: float) -> float:
    """Return the lowest mean over the subjects of one data set; the score where none is told.

    Parameters
    ----------
    by_group : score of each subject, named ``data set/subject``
    """
    of_dataset: dict[str, list[float]] = {}
    for group, value in by_group.items():
        of_dataset.setdefault(group.partition("/")[0], []).append(value)
    return min((sum(v) / len(v) for v in of_dataset.values()), default=score)


def num_parameters(folder: Path) -> int:
    """Return how many numbers the model of a trial has, from the header of a checkpoint.

    Raises
    ------
    SearchError
        Where the trial left no checkpoint.
    """
    weights = next(iter(sorted(folder.glob("checkpoints/*/*.safetensors"))), None)
    if weights is None:
        raise SearchError(
            f"{folder} holds no checkpoint, so that the parameters of its model cannot be counted."
            " Take parameters out of study.objectives."
        )
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(LENGTH_BYTES), "little")))
    return sum(math.prod(t["shape"]) for name, t in header.items() if name != "__metadata__")


def pareto_front(
    lines: Mapping[int, Mapping[str, Any]], objectives: Sequence[ObjectiveName]
) -> tuple[int, ...]:
    """Return the complete trials that no other is as good as in all objectives and better in one.

    Parameters
    ----------
    lines : by number; those of complete trials have ``objectives`` by name
    objectives : names, at least one

    Returns
    -------
    numbers : by the first objective, the best first
    """
    signs = [1.0 if HIGHER_IS_BETTER[name] else -1.0 for name in objectives]
    points = {
        number: tuple(
            s * line["objectives"][name] for s, name in zip(signs, objectives, strict=True)
        )
        for number, line in lines.items()
        if line["state"] == "complete" and line.get("objectives")
    }
    front = [
        number
        for number, own in points.items()
        if not any(_beats(other, own) for other in points.values())
    ]
    return tuple(sorted(front, key=lambda number: ([-v for v in points[number]], number)))


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
