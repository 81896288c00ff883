"""What an exported model says of runs: recipe, sequences and folds as in training.

Runs need no class. A run that the model's study has seen is marked, and predicted by the folds
that held it out, where there are any. Not here: reading the folder (``exported``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectrum.config import TrialConfig
from spectrum.data.manifest import ShardManifest, ShardRun
from spectrum.data.pipeline import PrepareResult, find_shards, prepare
from spectrum.data.runs import Problem, RunTable
from spectrum.data.sequences import shape_in_plane, stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold, SequenceTable, Unit
from spectrum.data.unlabelled import without_labels
from spectrum.errors import DataError, TargetError
from spectrum.training.exported import ExportedFold, ExportedModel, ModelHeader
from spectrum.training.feeds import build_feed
from spectrum.training.harmonising import feed_on_scale, trial_feed
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.place import Parallel, Place
from spectrum.training.prediction_notes import iter_notes, names_in_study
from spectrum.training.predictions import Evaluator

__all__ = [
    "Asked",
    "Predicted",
    "Predictions",
    "is_ready",
    "predict_shards",
    "predict_table",
]

Prepare = Callable[..., PrepareResult]
Ask = Callable[[ShardRun, ModelHeader], "Asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What the model says of one run, or of one event.

    ``folds`` are those whose models were asked. ``seen`` says that the study has seen the image;
    ``held_out`` that only folds were asked that never trained on it. ``sequences`` are the seconds
    from the run's first kept volume to each sequence, with its probabilities.
    """

    path: str
    unit: Unit
    probabilities: dict[str, float]
    folds: tuple[str, ...]
    seen: bool
    held_out: bool
    event: Mapping[str, Any] | None = None
    sequences: tuple[tuple[float, tuple[float, ...]], ...] = ()

    @property
    def class_name(self) -> str:
        """The class of the highest probability, the first of equals."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        key = self.unit.key
        return {
            "path": self.path,
            "unit": self.unit.name,
            **asdict(key),
            "class": self.class_name,
            "probabilities": self.probabilities,
            "seen": self.seen,
            "held_out": self.held_out,
            "folds": list(self.folds),
            **({"event": dict(self.event)} if self.event is not None else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """All predictions in the order of the runs, what was refused, and what to know of it."""

    predictions: tuple[Predicted, ...]
    refused: tuple[Problem, ...]
    notes: tuple[str, ...]


def is_ready(model: ExportedModel, table: RunTable, shards_root: Path) -> bool:
    """Return whether the shards of these runs are there, so that no Ray is needed."""
    found = find_shards(table, model.header.config.preprocessing, shards_root)
    return found is not None and _fits(ShardSet.open(found).manifest, model.header)


def predict_table(
    model: ExportedModel,
    table: RunTable,
    *,
    shards_root: Path,
    make: Prepare = prepare,
    ask: Ask | None = None,
    **making: Any,
) -> Predictions:
    """Apply the model's recipe to the runs of a table, and the model to each.

    Parameters
    ----------
    model : as ``read_model`` returns it
    table : the runs; none needs a class
    shards_root : folder of all shard sets
    make : makes or finds the shard set
    ask : which folds are asked about a run; None asks those that held out its image, or else all
    making : further arguments of ``make``

    Raises
    ------
    DataError
        Where no run can be predicted.
    """
    recipe = model.header.config.preprocessing
    misfits: list[Problem] = []
    left = table
    while True:
        prepared = _made(make, left, misfits, recipe=recipe, shards_root=shards_root, **making)
        shards = ShardSet.open(prepared.shards)
        if _fits(shards.manifest, model.header):
            break
        misfits += [_misfit(run, model.header) for run in shards.manifest.runs]
        gone = {run.key for run in shards.manifest.runs}
        left = replace(left, runs=tuple(run for run in left.runs if run.key not in gone))
    paths = {str(run.key): str(run.path) for run in table.runs}
    told = predict_shards(model, shards, paths, ask=ask)
    return replace(
        told,
        refused=(*table.refused_files, *prepared.refused, *misfits, *told.refused),
        notes=tuple(dict.fromkeys((*told.notes, *table.notes, *prepared.notes))),
    )


def predict_shards(
    model: ExportedModel, shards: ShardSet, paths: Mapping[str, str], *, ask: Ask | None = None
) -> Predictions:
    """Predict the runs of a shard set that the model's recipe made.

    Parameters
    ----------
    model : as ``read_model`` returns it
    shards : of the model's recipe and shape
    paths : image of each run, by the run's name
    ask : as ``predict_table`` has it
    """
    header = model.header
    config = header.config
    try:
        data = stream_sequences(shards, without_labels(header.target), config.sequences)
    except TargetError as err:
        raise _nothing_to_predict(shards.manifest, header) from err
    place = _place(config)
    feed = trial_feed(build_feed(data, place.device, config.training), config.training)
    choose = ask or _asked
    asked = {run: choose(shards.manifest.runs[run], header) for run in data.table.used_runs}
    sums = np.zeros((data.table.start_of_sequence.size, len(header.target.classes)))
    for fold in header.folds:
        units = tuple(
            index
            for index, unit in enumerate(data.table.units)
            if fold.name in asked[unit.run_index].folds
        )
        if not units:
            continue
        network, own = model.read_fold(fold)
        scaled = feed_on_scale(feed, own.harmonisation)
        evaluator = Evaluator(
            feed=scaled,
            fold=_as_fold(fold, units, own.scored_classes),
            place=place,
            inputs=ModelInputs.of_feed(scaled, config.model),
            batch_size=config.training.evaluation_batch_size,
        )
        rows = data.table.sequences_of(units)
        sums[rows] += evaluator.probabilities(network.to(place.device), rows)
    predictions = tuple(_iter_predicted(data.table, sums, asked, shards.manifest, header, paths))
    lost = tuple(
        replace(problem, path=paths.get(problem.path.split("#")[0], problem.path))
        for problem in data.table.problems
    )
    notes = tuple(iter_notes(predictions, shards.manifest, header))
    return Predictions(predictions=predictions, refused=lost, notes=notes)


@dataclass(frozen=True, slots=True)
class Asked:
    """The folds whose models are asked about a run, and whether the study has seen it."""

    folds: tuple[str, ...]
    seen: bool = False
    held_out: bool = False


def _asked(run: ShardRun, header: ModelHeader) -> Asked:
    names = names_in_study(run, header)
    everyone = tuple(fold.name for fold in header.folds)
    if not names:
        return Asked(everyone)
    trained = {fold.name for fold in header.folds if names & set(fold.trained)}
    held_by = tuple(
        fold.name
        for fold in header.folds
        if names & set(fold.held_out_runs) and fold.name not in trained
    )
    if held_by:
        return Asked(held_by, seen=True, held_out=True)
    return Asked(everyone, seen=bool(trained))


def _as_fold(fold: ExportedFold, units: tuple[int, ...], classes: tuple[int, ...]) -> Fold:
    return Fold(
        name=fold.name, held_out=fold.held_out, training=(), validation=units, classes=classes
    )


def _place(config: TrialConfig) -> Place:
    """Return the best place of this machine, which need not have what training had."""
    anywhere = config.training.model_copy(update={"device": "auto"})
    if anywhere.precision == "float16":
        anywhere = anywhere.model_copy(update={"precision": "auto"})
    return Place.choose(anywhere, Parallel())


def _iter_predicted(
    table: SequenceTable,
    sums: NDArray[np.float64],
    asked: Mapping[int, Asked],
    manifest: ShardManifest,
    header: ModelHeader,
    paths: Mapping[str, str],
) -> Iterator[Predicted]:
    for index, unit in enumerate(table.units):
        of_run = asked[unit.run_index]
        rows = table.sequences_of((index,))
        said = sums[rows] / len(of_run.folds)
        mean = said.mean(axis=0).tolist()
        onsets_s = table.start_of_sequence[rows] * manifest.runs[unit.run_index].tr_s
        yield Predicted(
            path=paths.get(str(unit.key), ""),
            unit=unit,
            probabilities=dict(zip(header.target.classes, mean, strict=True)),
            folds=of_run.folds,
            seen=of_run.seen,
            held_out=of_run.held_out,
            event=_event_of(unit, manifest),
            sequences=tuple(
                (float(onset_s), tuple(map(float, row)))
                for onset_s, row in zip(onsets_s, said, strict=True)
            ),
        )


def _event_of(unit: Unit, manifest: ShardManifest) -> dict[str, Any] | None:
    if unit.event_index is None:
        return None
    event = manifest.runs[unit.run_index].events[unit.event_index]
    return {"index": unit.event_index, **asdict(event)}


def _fits(manifest: ShardManifest, header: ModelHeader) -> bool:
    shape = shape_in_plane(manifest.shape_SHW, header.config.sequences.plane)
    return shape == header.shape_TSHW[1:]


def _misfit(run: ShardRun, header: ModelHeader) -> Problem:
    plane, grid = header.config.sequences.plane, header.config.preprocessing.grid
    return Problem(
        code="other-shape",
        path=str(run.key),
        message=f"{run.key} has {plane} slices {shape_in_plane(run.shape_SHW, plane)} on the grid "
        f"{grid}, and the model takes {header.shape_TSHW[1:]}. Only a model trained with "
        "preprocessing.grid: common takes every scanner's images.",
        refuses=True,
    )


def _made(
    make: Prepare, table: RunTable, misfits: Sequence[Problem], *, recipe: Any, **making: Any
) -> PrepareResult:
    """Make the set, or say that no run has the model's shape."""
    if misfits and not table.runs:
        raise DataError(
            f"None of {len(misfits)} runs fits the model; the first: {misfits[0].message}",
            code="no-runs",
            path=misfits[0].path,
        )
    return make(table, recipe, **making)


def _nothing_to_predict(manifest: ShardManifest, header: ModelHeader) -> DataError:
    longest = max(run.num_volumes for run in manifest.runs)
    what = "a sequence" if header.target.event is None else "the window of an event"
    return DataError(
        f"No run has room for {what}: the model's span {header.config.sequences.span} volumes, "
        f"and the longest of {len(manifest.runs)} runs has {longest}, with "
        f"{sum(len(run.events) for run in manifest.runs)} events in all. Give longer runs, or "
        "event files.",
        code="no-units",
    )
