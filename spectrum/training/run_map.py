"""What one class of one new run rests on: a map over some of its sequences and its models.

Not here: maps of a whole study, averaged over people (``explaining``), and what a map is worth
(``spectrum.evaluation.map_checks``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from spectrum.data.map_grid import to_voxels
from spectrum.data.sequences import stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.unlabelled import without_labels
from spectrum.errors import SearchError
from spectrum.model.attention_maps import Method, explain
from spectrum.model.slice_vit import SliceViT
from spectrum.training.batches import iter_batches
from spectrum.training.checkpoints import CheckpointHeader
from spectrum.training.explaining import with_fresh_weights
from spectrum.training.exported import ExportedModel
from spectrum.training.feeds import Feed, build_feed
from spectrum.training.harmonising import feed_on_scale, trial_feed
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.place import Parallel, Place

__all__ = ["RunMap", "explain_run"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BATCH: Final = 8
"""Sequences explained at once."""

NUM_SEQUENCES: Final = 8
"""Sequences of the set that are explained, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMap:
    """How much each voxel speaks for a class, X, Y, Z, over a run.

    ``inside_XYZ`` are the voxels that any sequence has; ``num_sequences`` of the run were
    explained, each by ``num_models``.
    """

    map_XYZ: NDArray[np.float64]
    inside_XYZ: NDArray[np.bool_]
    num_sequences: int
    num_models: int


def explain_run(
    model: ExportedModel,
    shards: ShardSet,
    method: Method,
    *,
    class_index: int,
    folds: Sequence[str],
    fresh_seed: int | None = None,
) -> RunMap:
    """Explain the runs of a set, which need no class, for one class.

    Parameters
    ----------
    model : as ``read_model`` returns it
    shards : of the model's recipe and shape
    method : how a sequence is explained
    class_index : of the model's target
    folds : names of those whose models are asked; one that does not score the class is left out
    fresh_seed : explains fresh weights, drawn from it, in place of the fitted ones; None does not

    Raises
    ------
    SearchError
        Where none of the models scores the class.
    ConfigError
        Where the encoder's attention cannot be rolled out.
    """
    header = model.header
    feed = _feed(model, shards)
    rows = _spread(len(feed.source.table.start_of_sequence))
    found: list[tuple[Floats, Bools]] = []
    for fold in header.folds:
        network, own = model.read_fold(fold)
        if fold.name not in folds or class_index not in own.scored_classes:
            continue
        if fresh_seed is not None:
            network = with_fresh_weights(network, own, seed=fresh_seed)
        found.append(_of_fold(feed, network, own, rows, method, class_index))
    if not found:
        raise SearchError(
            f"No model scores the class {header.target.classes[class_index]}, so none has a map "
            "of it."
        )
    plane = header.config.sequences.plane
    return RunMap(
        map_XYZ=to_voxels(np.mean([map_SHW for map_SHW, _ in found], axis=0), plane),
        inside_XYZ=to_voxels(np.any([inside_SHW for _, inside_SHW in found], axis=0), plane),
        num_sequences=len(rows),
        num_models=len(found),
    )


def _feed(model: ExportedModel, shards: ShardSet) -> Feed:
    config = model.header.config
    data = stream_sequences(shards, without_labels(model.header.target), config.sequences)
    exactly = config.training.model_copy(update={"device": "auto", "precision": "float32"})
    place = Place.choose(exactly, Parallel())
    return trial_feed(build_feed(data, place.device, exactly), exactly)


def _of_fold(
    feed: Feed,
    network: SliceViT,
    header: CheckpointHeader,
    rows: NDArray[np.int64],
    method: Method,
    class_index: int,
) -> tuple[Floats, Bools]:
    """Return the mean map of one model over sequences, and which voxels they have, (S, H, W)."""
    network = network.to(feed.device).requires_grad_(False)
    scaled = feed_on_scale(feed, header.harmonisation)
    inputs = ModelInputs.of_feed(scaled, header.config.model)
    indices = torch.from_numpy(rows).to(feed.device)
    parts = [indices[part] for part in iter_batches(len(rows), BATCH)]
    maps, insides = [], []
    for part, slices_BTSHW in zip(parts, scaled.iter_read(parts), strict=True):
        targets_B = torch.full((len(part),), class_index, device=feed.device)
        maps_BTSHW = explain(
            method,
            network,
            slices_BTSHW,
            targets_B,
            classes=header.scored_classes,
            inputs=inputs.of(part),
        )
        maps.append(maps_BTSHW.sum(dim=(0, 1)).double().cpu().numpy())
        insides.append((slices_BTSHW != 0).flatten(0, 1).any(dim=0).cpu().numpy())
    return np.sum(maps, axis=0) / len(rows), np.any(insides, axis=0)


def _spread(num_all: int) -> NDArray[np.int64]:
    """Return the sequences that are explained, spread evenly over all."""
    places = np.linspace(0, num_all - 1, min(NUM_SEQUENCES, num_all)).round().astype(np.int64)
    return np.unique(places)
