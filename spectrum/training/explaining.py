"""Maps of the classes, averaged over what a model never saw: sequences, subjects, then all.

Each run is explained by the folds that held it out, and each sequence for its own class. Not here:
how one sequence is explained (``spectrum.model.attention_maps``), and what the maps are worth
(``spectrum.evaluation.map_checks``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectrum.data.map_grid import to_voxels
from spectrum.data.sequences import stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import SequenceTable
from spectrum.errors import SearchError
from spectrum.model.attention_maps import Method, explain
from spectrum.model.slice_vit import SliceViT, build_model
from spectrum.training.batches import iter_batches
from spectrum.training.checkpoints import CheckpointHeader
from spectrum.training.exported import ExportedFold, ExportedModel
from spectrum.training.feeds import Feed, build_feed
from spectrum.training.harmonising import feed_on_scale, trial_feed
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.place import Parallel, Place

__all__ = ["ClassMaps", "Explained", "average_maps", "iter_explained", "with_fresh_weights"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ALONE: Final = Parallel()
"""One worker."""

BATCH: Final = 8
"""Sequences explained at once: the path of integrated gradients multiplies them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Some sequences of one fold's held-out side, and their maps.

    ``maps_BSHW`` say how much a voxel speaks for the sequence's class, summed over the volumes;
    ``sequences`` are indices of ``table``. The fold scores ``classes``; ``network``,
    ``slices_BTSHW``, ``targets_B`` (the true classes) and ``inputs`` are what was explained.
    """

    table: SequenceTable
    network: SliceViT
    classes: tuple[int, ...]
    sequences: NDArray[np.int64]
    slices_BTSHW: Tensor
    targets_B: Tensor
    inputs: Mapping[str, Tensor]
    maps_BSHW: NDArray[np.float32]

    @property
    def groups(self) -> list[str]:
        """Data set and subject of each sequence."""
        units = self.table.units
        return [units[unit].key.group for unit in self.table.unit_of_sequence[self.sequences]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassMaps:
    """Maps of classes, X, Y, Z, by subject and over all.

    ``of_subject[subject][class name]`` is there where sequences of the class were held out.
    ``inside_XYZ`` are the voxels that any sequence has; ``num_sequences`` were explained.
    """

    of_subject: Mapping[str, Mapping[str, Floats]]
    inside_XYZ: Bools
    num_sequences: int

    @property
    def of_class(self) -> dict[str, Floats]:
        """The mean over subjects, each counting the same."""
        names = sorted({name for maps in self.of_subject.values() for name in maps})
        return {
            name: np.mean([m[name] for m in self.of_subject.values() if name in m], axis=0)
            for name in names
        }


def with_fresh_weights(network: SliceViT, header: CheckpointHeader, *, seed: int) -> SliceViT:
    """Return the model of a checkpoint before any step of training, with its scale of inputs."""
    num_volumes, num_slices, height, width = header.shape_TSHW
    config = header.config.model.model_copy(update={"weights": None, "weights_sha256": None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build_model(
            config,
            num_slices=num_slices,
            slice_shape=(height, width),
            num_volumes=num_volumes,
            num_classes=len(header.classes),
        )
    fresh.input_scale.copy_(network.input_scale)
    return fresh.eval()


def iter_explained(
    model: ExportedModel,
    shards: ShardSet,
    method: Method,
    *,
    sequences_per_unit: int,
    fresh_seed: int | None = None,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Explained]:
    """Explain the held-out sequences of every fold, some at a time.

    Parameters
    ----------
    model : of a study or a training, with all its folds
    shards : the set that it was fitted on
    method : how a sequence is explained
    sequences_per_unit : of each run or event, spread evenly over it, >= 1
    fresh_seed : explains fresh weights, drawn from it, in place of the fitted ones; None does not
    on_done : told sequences done and in all

    Raises
    ------
    SearchError
        Where no run of the set was held out by a fold.
    """
    header = model.header
    data = stream_sequences(shards, header.target, header.config.sequences)
    training = header.config.training
    exactly = training.model_copy(update={"device": "auto", "precision": "float32"})
    place = Place.choose(exactly, ALONE)
    feed = trial_feed(build_feed(data, place.device, training), training)
    chosen = {
        fold.name: _held_out_sequences(data.table, fold, sequences_per_unit)
        for fold in header.folds
    }
    total, done = sum(map(len, chosen.values())), 0
    if not total:
        raise SearchError(
            f"{shards.path} has no run that a fold of the model held out. "
            "Give the folder of the shard set that it was fitted on."
        )
    for fold in header.folds:
        network, own = model.read_fold(fold)
        if fresh_seed is not None:
            network = with_fresh_weights(network, own, seed=fresh_seed)
        network = network.to(place.device).requires_grad_(False)
        on_scale = feed_on_scale(feed, own.harmonisation)
        scored = _of_scored_classes(data.table, chosen[fold.name], own.scored_classes)
        for explained in _iter_fold(on_scale, network, own, scored, method):
            yield explained
            done += len(explained.sequences)
            on_done(done, total)


def _held_out_sequences(
    table: SequenceTable, fold: ExportedFold, per_unit: int
) -> NDArray[np.int64]:
    held_out = set(fold.held_out_runs) - set(fold.trained)
    chosen = []
    for index, unit in enumerate(table.units):
        if str(unit.key) in held_out:
            own = table.sequences_of((index,))
            places = np.linspace(0, len(own) - 1, min(per_unit, len(own))).round().astype(int)
            chosen.append(own[np.unique(places)])
    return np.concatenate(chosen) if chosen else np.empty(0, dtype=np.int64)


def _of_scored_classes(
    table: SequenceTable, sequences: NDArray[np.int64], classes: tuple[int, ...]
) -> NDArray[np.int64]:
    return sequences[np.isin(table.class_of_sequence[sequences], classes)]


def _iter_fold(
    feed: Feed,
    network: SliceViT,
    header: CheckpointHeader,
    sequences: NDArray[np.int64],
    method: Method,
) -> Iterator[Explained]:
    table, inputs = feed.source.table, ModelInputs.of_feed(feed, header.config.model)
    indices = torch.from_numpy(sequences).to(feed.device)
    parts = list(iter_batches(len(sequences), BATCH))
    slices_of_part = feed.iter_read([indices[part] for part in parts])
    for part, slices_BTSHW in zip(parts, slices_of_part, strict=True):
        targets_B, own = feed.class_index[indices[part]], inputs.of(indices[part])
        classes = header.scored_classes
        maps = explain(method, network, slices_BTSHW, targets_B, classes=classes, inputs=own)
        yield Explained(
            table=table,
            network=network,
            classes=classes,
            sequences=sequences[part],
            slices_BTSHW=slices_BTSHW,
            targets_B=targets_B,
            inputs=own,
            maps_BSHW=maps.sum(dim=1).cpu().numpy(),
        )


def average_maps(batches: Iterable[Explained], *, plane: str) -> ClassMaps:
    """Average the maps of the sequences of a class, by subject.

    Parameters
    ----------
    batches : all of one method
    plane : of the slices
    """
    sums: dict[tuple[str, str], tuple[Floats, int]] = {}
    inside_SHW: Bools | None = None
    for batch in batches:
        seen_SHW = (batch.slices_BTSHW != 0).flatten(0, 1).any(dim=0).cpu().numpy()
        inside_SHW = seen_SHW if inside_SHW is None else inside_SHW | seen_SHW
        names = [batch.table.classes[target] for target in batch.targets_B.tolist()]
        for key, map_SHW in zip(
            zip(batch.groups, names, strict=True), batch.maps_BSHW, strict=True
        ):
            total, count = sums.get(key, (np.zeros(map_SHW.shape), 0))
            sums[key] = (total + map_SHW, count + 1)
    assert inside_SHW is not None
    of_subject: dict[str, dict[str, Floats]] = {}
    for (group, name), (total, count) in sorted(sums.items()):
        of_subject.setdefault(group, {})[name] = to_voxels(total / count, plane)
    return ClassMaps(
        of_subject=of_subject,
        inside_XYZ=to_voxels(inside_SHW, plane),
        num_sequences=sum(count for _, count in sums.values()),
    )
