"""Volumes that stand in sequences of events of several classes. Pure numpy; nothing is dropped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectrum.data.runs import Problem
from spectrum.data.units import SequenceTable

__all__ = ["overlap_problem", "shared_volumes"]


def shared_volumes(table: SequenceTable) -> NDArray[np.bool_]:
    """Tell which volumes of each sequence are in a sequence of another class, too.

    Parameters
    ----------
    table : units and their sequences

    Returns
    -------
    is_shared : (number of sequences, T)
    """
    places = _places(table)
    num_classes = len(table.classes)
    of_class = np.unique(places * num_classes + table.class_of_sequence[:, None])
    place, classes_of_place = np.unique(of_class // num_classes, return_counts=True)
    return np.isin(places, place[classes_of_place > 1])


def _places(table: SequenceTable) -> NDArray[np.int64]:
    """Give each volume of each run a number of its own: (number of sequences, T)."""
    volumes = table.volumes_of_sequence
    runs = table.run_of_sequence[:, None]
    return np.asarray(runs * (volumes.max(initial=0) + 1) + volumes, dtype=np.int64)


def overlap_problem(table: SequenceTable) -> Problem | None:
    """Say how many volumes are in sequences of events of several classes, or None without any.

    Parameters
    ----------
    table : units of a target of events, and their sequences
    """
    is_shared = shared_volumes(table)
    if not is_shared.any():
        return None
    runs, volumes_of_run = _count_by_run(table, is_shared)
    most = int(volumes_of_run.argmax())
    name = next(str(unit.key) for unit in table.units if unit.run_index == runs[most])
    num_events = np.unique(table.unit_of_sequence[is_shared.any(axis=1)]).size
    num_runs = np.unique(table.run_of_sequence).size
    return Problem(
        code="event-overlap",
        path=name,
        message=f"{num_events} of {len(table.units)} events have volumes in common with events of "
        f"another class: {volumes_of_run.sum()} volumes in {runs.size} of {num_runs} runs, most "
        f"in {name} ({volumes_of_run[most]}). All are used; a smaller sequences.num_volumes or "
        "event.duration_s shares fewer.",
    )


def _count_by_run(
    table: SequenceTable, is_shared: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the shared volumes of each run that has any."""
    run_of_place = np.broadcast_to(table.run_of_sequence[:, None], is_shared.shape)
    pairs = np.stack([run_of_place[is_shared], _places(table)[is_shared]])
    runs, counts = np.unique(np.unique(pairs, axis=1)[0], return_counts=True)
    return runs, counts
