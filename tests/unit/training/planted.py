"""Small sequence data whose answer is known: a pattern planted by class, in noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spectrum.config import TrialConfig
from spectrum.data.units import Fold, SequenceData, SequenceRuns, SequenceTable, Unit
from spectrum.entities import RunKey

NUM_VOLUMES = 3
SHAPE_SHW = (2, 7, 9)


def planted_data(
    *,
    num_subjects: int = 8,
    effect: float = 1.0,
    num_classes: int = 2,
    seed: int = 0,
    decimation: int = 1,
) -> SequenceData:
    """One run of 12 volumes for each subject and class; ``effect`` scales the class's pattern."""
    rng = np.random.default_rng(seed)
    patterns = rng.standard_normal((num_classes, *SHAPE_SHW))
    units, runs = [], []
    for subject in range(num_subjects):
        for class_index in range(num_classes):
            key = RunKey(
                dataset="ds000002", subject=f"{subject:02d}", task="det", run=str(class_index + 1)
            )
            units.append(
                Unit(
                    key=key,
                    name=str(key),
                    pair=f"{key.group}/det/" if num_classes == 2 else "",
                    class_index=class_index,
                    run_index=len(units),
                )
            )
            noise = rng.standard_normal((12, *SHAPE_SHW))
            runs.append((noise + effect * patterns[class_index]).astype(np.float16))
    span = (NUM_VOLUMES - 1) * decimation + 1
    starts = np.arange(0, 12 - span + 1, NUM_VOLUMES)
    num_units = len(units)
    table = SequenceTable(
        units=tuple(units),
        classes=("early", "late", "rest", "other")[:num_classes],
        num_volumes=NUM_VOLUMES,
        decimation=decimation,
        run_of_sequence=np.repeat(np.arange(num_units), len(starts)),
        start_of_sequence=np.tile(starts, num_units),
        unit_of_sequence=np.repeat(np.arange(num_units), len(starts)),
    )
    return SequenceData(
        slices_VSHW=np.concatenate(runs),
        first_volume_of_run=np.arange(num_units) * 12,
        table=table,
        paired=num_classes == 2,
        content_hash="planted",
    )


def by_run(data: SequenceData, *, is_in_memory: bool) -> SequenceRuns:
    """The same sequences with each run's volumes apart: as views, or copied when read."""
    num_volumes = len(data.slices_VSHW) // len(data.first_volume_of_run)

    def read_run(index: int) -> NDArray[np.float16]:
        first = data.first_volume_of_run[index]
        volumes = data.slices_VSHW[first : first + num_volumes]
        return volumes if is_in_memory else volumes.copy()

    return SequenceRuns(
        read_run=read_run,
        is_in_memory=is_in_memory,
        volume_shape=data.volume_shape,
        volumes_of_run=np.full(len(data.first_volume_of_run), num_volumes),
        table=data.table,
        paired=data.paired,
        content_hash=data.content_hash,
    )


def halves(data: SequenceData, *, classes: tuple[int, ...] | None = None) -> tuple[Fold, Fold]:
    """Two folds: each half of the subjects is held out once; the first other subject watches."""
    chosen = classes or tuple(range(len(data.table.classes)))
    units = [i for i, unit in enumerate(data.table.units) if unit.class_index in chosen]
    groups = sorted({data.table.units[i].key.group for i in units})
    return _fold("first", groups[::2], units, data, chosen), _fold(
        "second", groups[1::2], units, data, chosen
    )


def _fold(
    name: str, held_out: list[str], units: list[int], data: SequenceData, classes: tuple[int, ...]
) -> Fold:
    group_of = {i: data.table.units[i].key.group for i in units}
    watching = next(group for group in group_of.values() if group not in held_out)
    return Fold(
        name=name,
        held_out=name,
        training=tuple(i for i in units if group_of[i] not in (*held_out, watching)),
        validation=tuple(i for i in units if group_of[i] in held_out),
        monitor=tuple(i for i in units if group_of[i] == watching),
        classes=classes,
    )


def tiny_config(**paths: object) -> TrialConfig:
    """A configuration that fits in a second; ``training__num_epochs`` sets a config path."""
    from spectrum.config import set_paths

    small: dict[str, object] = {
        "model.embed_dim": 16,
        "model.depth": 1,
        "model.patch_size": 4,
        "training.num_epochs": 3,
        "training.batch_size": 8,
        "training.min_steps_per_epoch": 4,
        "sequences.num_volumes": NUM_VOLUMES,
        "sequences.stride": NUM_VOLUMES,
    }
    given = {name.replace("__", "."): value for name, value in paths.items()}
    return TrialConfig.model_validate(set_paths({}, small | given))
