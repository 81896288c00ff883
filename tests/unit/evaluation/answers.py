"""Answers of models that know nothing or what was planted, on units that depend on others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import Unit
from spectrum.records import Prediction
from tests.unit.data.fake_shards import key, paired_units, unit

CLASSES = ("early", "late")
THREE = ("face", "house", "cat")


def guesses(
    rng: np.random.Generator, num_subjects: int, num_runs: int, *, skill: float = 0.0
) -> list[Prediction]:
    """Return answers of a model that is right with a probability of (1 + 2 skill) / 3."""
    predictions = []
    for subject in range(num_subjects):
        for run in range(num_runs):
            index = run % 3
            made = unit(key(dataset="a", subject=f"{subject}", run=f"{run}"), index)
            scores = rng.random(3)
            scores[index] += 9.0 * (rng.random() < skill)
            scores /= scores.sum()
            predictions.append(
                made.predicted(scores.tolist(), classes=THREE, fold=f"sub-{subject}")
            )
    return predictions


def pairs(rng: np.random.Generator, num_subjects: int, *, gap: float = 0.0) -> list[Prediction]:
    units = paired_units({"a": [f"{i:02}" for i in range(num_subjects)]})
    return [late_answer(made, rng.normal() + gap * (made.class_index - 0.5)) for made in units]


def late_answer(made: Unit, logit: float) -> Prediction:
    late = 1 / (1 + np.exp(-logit))
    return made.predicted([1 - late, late], classes=CLASSES, fold="a")


def units_of_many_pairs(num_subjects: int, num_pairs: int, *, first: int = 0) -> list[Unit]:
    """Return an early and a late unit of each of several tasks of each subject."""
    units = []
    for subject in range(first, first + num_subjects):
        for task in range(num_pairs):
            for index in (0, 1):
                run_key = key("a", f"{subject:03}", f"task{task}", f"{index + 1:02}")
                pair = f"{run_key.group}/task{task}"
                units.append(unit(run_key, index, run_index=len(units), pair=pair))
    return units


def drifting_values(
    rng: np.random.Generator, units: list[Unit], *, drift: float, gap: float, width: int = 1
) -> NDArray[np.float64]:
    """Return (N, width) values: all later runs of a subject move alike, wherever it drifts."""
    subjects = np.array([int(made.key.subject) for made in units])
    late = np.array([made.class_index for made in units], dtype=float)[:, None] - 0.5
    drifts = drift * rng.normal(size=(subjects.max() + 1, width))
    return rng.normal(size=(len(units), width)) + late * (drifts[subjects] + gap)


def drifting_pairs(
    rng: np.random.Generator,
    num_subjects: int,
    num_pairs: int,
    *,
    drift: float = 0.0,
    gap: float = 0.0,
    first: int = 0,
) -> list[Prediction]:
    """Return answers on several pairs a subject that follow the subject's drift."""
    units = units_of_many_pairs(num_subjects, num_pairs, first=first)
    values = drifting_values(rng, units, drift=drift, gap=gap)
    return [late_answer(made, value[0]) for made, value in zip(units, values, strict=True)]


def units_of_blocks(
    rng: np.random.Generator, num_subjects: int, num_runs: int, *, length: int = 4
) -> list[Unit]:
    """Return events in blocks of one class, ``length`` events each, their order drawn anew."""
    units = []
    for subject in range(num_subjects):
        for run in range(num_runs):
            order = np.repeat(rng.permutation(3), length)
            for index, class_index in enumerate(order.tolist()):
                run_key = key("a", f"{subject}", "look", f"{run + 1:02}")
                made = unit(
                    run_key, class_index, run_index=subject * num_runs + run, event_index=index
                )
                units.append(made)
    return units


def slow_values(rng: np.random.Generator, num_events: int, length: int) -> NDArray[np.float64]:
    """Return (num_events, 3) scores that are the same for ``length`` events in a row."""
    return np.repeat(rng.normal(size=(num_events // length, 3)), length, axis=0)


def slow_answers(
    rng: np.random.Generator, num_subjects: int, num_runs: int, *, skill: float = 0.0
) -> list[Prediction]:
    """Return answers on events of blocks, right or wrong for a whole block."""
    units = units_of_blocks(rng, num_subjects, num_runs)
    values = slow_values(rng, len(units), 4)
    predictions = []
    for made, row in zip(units, values, strict=True):
        row[made.class_index] += skill
        shares = np.exp(row) / np.exp(row).sum()
        fold = f"sub-{made.key.subject}"
        predictions.append(made.predicted(shares.tolist(), classes=THREE, fold=fold))
    return predictions
