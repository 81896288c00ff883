"""Runs and shard sets whose content is known, without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.runs import Event
from spectrum.data.units import SequenceTable, Unit
from spectrum.entities import RunKey


@dataclass(frozen=True)
class FakeRun:
    key: RunKey
    num_volumes: int = 11
    tr_s: float = 2.0
    events: tuple[Event, ...] = ()
    quality: dict[str, float | None] = field(default_factory=dict)
    image_sha256: str = ""
    voxels_sha256: str = ""
    person: str = ""
    scale: float = 1.0
    voxel_mm: tuple[float, float, float] = (3.0, 3.1, 4.0)
    source_shape: tuple[int, int, int, int] = (5, 3, 2, 11)
    shape_SHW: tuple[int, int, int] = (2, 3, 5)


@dataclass
class FakeShards:
    runs: tuple[FakeRun, ...]
    shape_SHW: tuple[int, int, int] = (2, 3, 5)
    volume_quality: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    read: list[FakeRun] = field(default_factory=list)

    @property
    def manifest(self) -> SimpleNamespace:
        return SimpleNamespace(
            runs=self.runs,
            shape_SHW=self.shape_SHW,
            content_hash="hash-of-shards",
            recipe=PreprocessingConfig(),
        )

    def reader(self) -> FakeShards:
        return self

    def read_run(self, run: FakeRun) -> NDArray[np.float16]:
        self.read.append(run)
        number = self.runs.index(run)
        shape = (run.num_volumes, *self.shape_SHW)
        values = np.arange(np.prod(shape)).reshape(shape) % 997 + 1000 * number
        return values.astype(np.float16)

    def read_volume_quality(self, run: FakeRun) -> dict[str, NDArray[np.float64]]:
        return self.volume_quality[str(run.key)]


def key(
    dataset: str = "ds000002",
    subject: str = "01",
    task: str = "learn",
    run: str = "01",
    session: str = "",
    acquisition: str = "",
) -> RunKey:
    return RunKey(
        dataset=dataset,
        subject=subject,
        task=task,
        run=run,
        session=session,
        acquisition=acquisition,
    )


def unit(
    run_key: RunKey,
    class_index: int,
    *,
    run_index: int = 0,
    pair: str = "",
    event_index: int | None = None,
) -> Unit:
    name = str(run_key) if event_index is None else f"{run_key}#{event_index}"
    return Unit(
        key=run_key,
        name=name,
        pair=pair,
        class_index=class_index,
        run_index=run_index,
        event_index=event_index,
    )


def table_of(
    units: Sequence[Unit], classes: tuple[str, ...] = ("early", "late"), **further: Any
) -> SequenceTable:
    """Return a table with one sequence a unit."""
    count = len(units)
    return SequenceTable(
        units=tuple(units),
        classes=classes,
        num_volumes=4,
        run_of_sequence=np.array([u.run_index for u in units], dtype=np.int64),
        start_of_sequence=np.zeros(count, dtype=np.int64),
        unit_of_sequence=np.arange(count, dtype=np.int64),
        target="planted",
        **further,
    )


def paired_units(subjects_of: Mapping[str, Sequence[str]]) -> list[Unit]:
    """Return an early and a late unit of each subject of each data set."""
    units = []
    for dataset, subjects in subjects_of.items():
        for subject in subjects:
            for class_index, run in enumerate(("01", "02")):
                run_key = key(dataset=dataset, subject=subject, run=run)
                units.append(
                    unit(run_key, class_index, run_index=len(units), pair=f"{run_key.group}/learn")
                )
    return units
