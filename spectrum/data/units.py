"""Scored units and folds as values: what is predicted, and which side of a fold it stands on.

Not here: how sequences are cut (``sequences``) and how folds are drawn (``folds``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.runs import Problem
from spectrum.entities import RunKey
from spectrum.records import Prediction

__all__ = ["Fold", "SequenceData", "SequenceRuns", "SequenceTable", "Unit"]

BYTES_OF_VALUE: Final = np.dtype(np.float16).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What gets one prediction: a run, or one event of a run.

    ``name`` is the run's name, followed by ``#<event index>`` for an event. ``pair`` names the
    (data set, subject, task, session) of a paired target and is "" otherwise. ``run_index``
    points into the runs of the shard set, ``class_index`` into the target's classes. ``person`` is
    "" unless the subject is known under another name too, by images that the two share.
    """

    key: RunKey
    name: str
    pair: str
    class_index: int
    run_index: int
    event_index: int | None = None
    person: str = ""

    @property
    def group(self) -> str:
        """The person, under the first of its names: data set and subject."""
        return self.person or self.key.group

    def predicted(
        self,
        probabilities: Sequence[float],
        *,
        classes: Sequence[str],
        fold: str,
        sequence_answers: Sequence[int] = (),
    ) -> Prediction:
        """Return what a model of a fold says of this unit, over all classes of the target."""
        return Prediction(
            dataset=self.key.dataset,
            subject=self.key.subject,
            session=self.key.session,
            task=self.key.task,
            run=self.key.run,
            unit=self.name,
            pair=self.pair,
            true_class=classes[self.class_index],
            probabilities=tuple(float(p) for p in probabilities),
            fold=fold,
            person=self.person,
            sequence_answers=tuple(int(count) for count in sequence_answers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceTable:
    """Which volumes make which sequence, of which unit.

    ``start_of_sequence`` counts volumes within the run; all three arrays have one entry a
    sequence, ordered by unit, then by start. ``num_volumes`` is T; every ``decimation``-th volume
    of the run is in a sequence. A recipe's values are the stored ones times ``factor_of_run``, all
    1 where that is empty. ``tr_s_of_run`` and ``slice_step_mm_of_run``, of all runs of the shard
    set, are empty where that is not known.
    """

    units: tuple[Unit, ...]
    classes: tuple[str, ...]
    num_volumes: int
    run_of_sequence: NDArray[np.int64]
    start_of_sequence: NDArray[np.int64]
    unit_of_sequence: NDArray[np.int64]
    volumes_left_out: int = 0
    problems: tuple[Problem, ...] = ()
    image_of_run: tuple[str, ...] = ()
    factor_of_run: tuple[float, ...] = ()
    target: str = ""
    decimation: int = 1
    tr_s_of_run: tuple[float, ...] = ()
    slice_step_mm_of_run: tuple[float, ...] = ()

    @property
    def used_runs(self) -> tuple[int, ...]:
        """Indices of the runs that a unit uses, ascending."""
        return tuple(sorted({unit.run_index for unit in self.units}))

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Volumes of the run from the start of a sequence to each of its volumes, (T,)."""
        return np.arange(self.num_volumes, dtype=np.int64) * self.decimation

    @property
    def volumes_of_sequence(self) -> NDArray[np.int64]:
        """Volumes of each sequence, counted within its run, (number of sequences, T)."""
        return self.start_of_sequence[:, None] + self.offsets

    @property
    def class_of_sequence(self) -> NDArray[np.int64]:
        """Class index of each sequence."""
        class_of_unit = np.array([unit.class_index for unit in self.units], dtype=np.int64)
        return class_of_unit[self.unit_of_sequence]

    def sequences_of(self, unit_indices: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the sequences of some units, in table order."""
        return np.flatnonzero(
            np.isin(self.unit_of_sequence, np.array(unit_indices, dtype=np.int64))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceData:
    """All volumes of the runs that a target uses, resident in memory, and the sequences in them.

    ``slices_VSHW`` holds the runs one after the other (float16, already in the plane asked for);
    ``first_volume_of_run[run_index]`` says where each begins (-1 for runs that no unit uses).
    ``content_hash`` is that of the shard set.
    """

    slices_VSHW: NDArray[np.float16]
    first_volume_of_run: NDArray[np.int64]
    table: SequenceTable
    paired: bool
    content_hash: str

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of a volume, in the plane asked for."""
        num_slices, height, width = self.slices_VSHW.shape[1:]
        return num_slices, height, width

    @property
    def first_volume_of_sequence(self) -> NDArray[np.int64]:
        """Row of ``slices_VSHW`` where each sequence begins."""
        table = self.table
        return self.first_volume_of_run[table.run_of_sequence] + table.start_of_sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRuns:
    """Sequences whose volumes lie apart, run by run: in shared memory, or on disk until read.

    ``read_run(run_index)`` returns the volumes of a run that a unit uses, (V, S, H, W) float16, in
    the plane asked for, perhaps as a view with other strides, not to be written to; several
    threads may call it. ``is_in_memory`` says whether that costs nothing; the arrays are
    contiguous then. ``volumes_of_run`` counts the volumes of all runs of the shard set,
    ``volume_shape`` is S, H, W.
    """

    read_run: Callable[[int], NDArray[np.float16]]
    is_in_memory: bool
    volume_shape: tuple[int, int, int]
    volumes_of_run: NDArray[np.int64]
    table: SequenceTable
    paired: bool
    content_hash: str

    @property
    def num_bytes(self) -> int:
        """Bytes of all volumes of the runs that a unit uses."""
        num_volumes = int(self.volumes_of_run[list(self.table.used_runs)].sum())
        return num_volumes * math.prod(self.volume_shape) * BYTES_OF_VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One pairing of training and held-out units, as indices into the table's units.

    ``classes`` are the class indices that both sides have; the others are masked in the logits,
    and their units stand on neither side. ``monitor`` units are cut from the training groups by
    whole groups, and only watch.
    """

    name: str
    held_out: str
    training: tuple[int, ...]
    validation: tuple[int, ...]
    classes: tuple[int, ...]
    monitor: tuple[int, ...] = ()
