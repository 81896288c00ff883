"""Numbers about the acquisition and the design that go with each unit, and see no brain signal.

Acquisition numbers are measured on the raw images when shards are made: geometry, length,
intensities of head and air, entropy, ghosting, tSNR, motion. For events the numbers of the event's
own volumes join them, relative to their run, if they cannot be brain signal. Design values are
entities of the file name. Not here: the model that reads them (``floor``).

When is a number of the foreground brain signal? Over a whole run the mean of the head is set by
coil, gain and drift, and a response of one per cent that comes and goes moves it by less: it is an
acquisition number. Over the volumes of one event the mean of the head, relative to its run, *is*
the mean BOLD response, and DVARS rises with its slopes: on one slice of visual cortex (Haxby et
al. 2001) ``event_fg_mean`` alone tells faces from houses in 15 of 16 blocks. These two are scored
beside the floor, and are no part of it. Air and motion of an event's volumes are: neither holds a
response, but for the share of it that a ghost carries into the air.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import SequenceTable, Unit
from spectrum.evaluation.measured import MeasuredRun, MeasuredRuns

__all__ = [
    "Predictors",
    "acquisition_predictors",
    "centre_pairs",
    "design_values",
    "has_events",
    "one_hot",
    "onset_predictor",
    "response_predictors",
]

Floats = NDArray[np.float64]

RESPONSE_NUMBERS: Final = ("fg_mean", "dvars")
"""Numbers of volumes that hold the BOLD response of the event whose volumes they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictors:
    """Named numbers of each unit of a table: values (units, names), NaN where unknown."""

    names: tuple[str, ...]
    values: Floats

    def only(self, name: str) -> Predictors:
        """Return one column."""
        index = self.names.index(name)
        return Predictors(names=(name,), values=self.values[:, index : index + 1])

    def joined(self, other: Predictors) -> Predictors:
        """Return these columns and those of another set for the same units."""
        return Predictors(
            names=(*self.names, *other.names), values=np.hstack([self.values, other.values])
        )


def acquisition_predictors(shards: MeasuredRuns, table: SequenceTable) -> Predictors:
    """Return what is known of each unit's acquisition without looking at brain signal.

    Parameters
    ----------
    shards : its manifest holds the numbers of each run, its rows those of each volume
    table : units and the volumes they use

    Returns
    -------
    predictors : the run's quality numbers and TR
        For events also ``event_<name>``: the mean of a volume number over the event's volumes,
        relative to its mean over the run, but for ``RESPONSE_NUMBERS``.
    """
    runs = shards.manifest.runs
    rows = [_run_numbers(runs[unit.run_index]) for unit in table.units]
    if has_events(table):
        events = _event_numbers(shards, table)
        rows = [
            {**row, **{name: v for name, v in event.items() if name not in _RESPONSES}}
            for row, event in zip(rows, events, strict=True)
        ]
    return _stack(rows)


def response_predictors(shards: MeasuredRuns, table: SequenceTable) -> Predictors:
    """Return the numbers of events that may be their BOLD response; no column without events."""
    events = _event_numbers(shards, table) if has_events(table) else [{} for _ in table.units]
    return _stack([{name: v for name, v in e.items() if name in _RESPONSES} for e in events])


_RESPONSES: Final = frozenset(f"event_{name}" for name in RESPONSE_NUMBERS)


def has_events(table: SequenceTable) -> bool:
    """Tell whether units are events."""
    return any(unit.event_index is not None for unit in table.units)


def _run_numbers(run: MeasuredRun) -> dict[str, float]:
    known = {name: value for name, value in run.quality.items() if value is not None}
    return {"tr_s": run.tr_s, **known}


def _event_numbers(shards: MeasuredRuns, table: SequenceTable) -> list[dict[str, float]]:
    units_of_run: defaultdict[int, list[int]] = defaultdict(list)
    for index, unit in enumerate(table.units):
        units_of_run[unit.run_index].append(index)
    numbers: list[dict[str, float]] = [{} for _ in table.units]
    for run_index, indices in units_of_run.items():
        columns = shards.read_volume_quality(shards.manifest.runs[run_index])
        for index in indices:
            volumes = _volumes_of(index, table)
            numbers[index] = {
                f"event_{name}": _relative(np.asarray(values, dtype=np.float64), volumes)
                for name, values in columns.items()
            }
    return numbers


def _volumes_of(unit_index: int, table: SequenceTable) -> NDArray[np.int64]:
    return np.unique(table.volumes_of_sequence[table.unit_of_sequence == unit_index])


def _relative(values: Floats, volumes: NDArray[np.int64]) -> float:
    """Return the mean over some volumes over the mean of the run, minus 1; NaN where unknown."""
    known, inside = np.isfinite(values), np.isfinite(values[volumes])
    mean = values[known].mean() if known.any() else 0.0
    if not inside.any() or mean == 0.0:
        return float("nan")
    return float(values[volumes][inside].mean() / mean - 1.0)


def _stack(rows: Sequence[Mapping[str, float]]) -> Predictors:
    names = tuple(sorted({name for row in rows for name in row}))
    values = [[row.get(name, np.nan) for name in names] for row in rows]
    stacked = np.array(values, dtype=np.float64).reshape(len(rows), len(names))
    return Predictors(names=names, values=np.where(np.isfinite(stacked), stacked, np.nan))


def design_values(table: SequenceTable) -> dict[str, tuple[str, ...]]:
    """Return the design of each unit: data set, task, run, session, and the first three together.

    Runs compare by number, so that ``run-1`` and ``run-01`` are the same.
    """
    entities = {
        "dataset": tuple(unit.key.dataset for unit in table.units),
        "task": tuple(unit.key.task for unit in table.units),
        "run": tuple(_run_text(unit) for unit in table.units),
        "session": tuple(unit.key.session for unit in table.units),
    }
    together = zip(entities["dataset"], entities["task"], entities["run"], strict=True)
    return {**entities, "dataset+task+run": tuple(" ".join(parts) for parts in together)}


def _run_text(unit: Unit) -> str:
    number = unit.key.run_number
    return unit.key.run if number is None else str(number)


def one_hot(name: str, values: Sequence[str]) -> Predictors:
    """Return one column for each value, 1 where a unit has it."""
    known = sorted(set(values))
    columns = [[float(value == other) for other in known] for value in values]
    return Predictors(names=tuple(f"{name}={value}" for value in known), values=np.array(columns))


def onset_predictor(shards: MeasuredRuns, table: SequenceTable) -> Predictors:
    """Return the second of the run at which each unit's first sequence begins."""
    runs = shards.manifest.runs
    seconds = [
        runs[unit.run_index].tr_s * float(_volumes_of(index, table)[0])
        for index, unit in enumerate(table.units)
    ]
    return Predictors(names=("onset_s",), values=np.array(seconds)[:, None])


def centre_pairs(predictors: Predictors, units: Sequence[Unit]) -> Predictors:
    """Take the mean of each pair from its numbers, as a paired score invites.

    A number that one unit of a pair lacks is unknown for both: the pair does not differ in it.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, unit in enumerate(units):
        members[unit.pair or unit.name].append(index)
    centred = np.empty_like(predictors.values)
    for indices in members.values():
        centred[indices] = predictors.values[indices] - predictors.values[indices].mean(axis=0)
    return Predictors(names=predictors.names, values=centred)
