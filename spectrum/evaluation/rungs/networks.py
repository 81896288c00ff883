"""Small networks on sequences: an MLP on the parcels' series, and a 3-D CNN on the volumes.

Both see what the slice ViT sees, sequence by sequence; a unit's probabilities are the mean over
its sequences. How long they are trained, and the MLP's weight decay, are chosen on inner folds.
Length is counted in optimiser steps, so that sixty sequences still make a fit. CPU, float32, one
seed. Not here: parcels (``parcels``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.units import Fold
from spectrum.evaluation.rungs.parcels import Parcellation, fit_mask, fit_parcels
from spectrum.evaluation.rungs.question import FittedRung, Floats, Question, training_rows

__all__ = ["ParcelMlp", "VolumeCnn"]

Inputs = NDArray[np.floating[Any]]

HIDDEN: Final = 64
BATCH: Final = 32
LR: Final = 1e-3
EVALUATED: Final = 256
"""Sequences whose probabilities are computed at once."""

SMALLEST: Final = 1e-12
"""Probabilities below this count as this in the log-loss."""


@dataclass(frozen=True, slots=True)
class ParcelMlp:
    """One hidden layer on the series of all parcels in a sequence."""

    name: str = "mlp"
    about: str = "one hidden layer of 64 on the series of parcels fitted in the fold"
    steps: tuple[int, ...] = (100, 300, 800)
    decays: tuple[float, ...] = (0.01, 1.0)
    num_inner: int = 3

    def obstacle(self, question: Question) -> str:
        """Return nothing: every shard set has voxels."""
        del question
        return ""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Find parcels, choose steps and decay on inner folds, fit on all training units."""
        parcels = fit_parcels(question, fold)

        def reduce(volumes: Any) -> Inputs:
            return parcels.series(volumes).astype(np.float32)

        return _fit_network(self, _Training(question, reduce, _mlp), fold, parcels)


@dataclass(frozen=True, slots=True)
class VolumeCnn:
    """Two convolutions with stride 2 over the volumes of a sequence, which are its channels."""

    name: str = "cnn"
    about: str = "two strided 3-D convolutions on the volumes of a sequence"
    steps: tuple[int, ...] = (60, 150, 400)
    decays: tuple[float, ...] = (0.05,)
    num_inner: int = 1

    def obstacle(self, question: Question) -> str:
        """Return nothing: every shard set has voxels."""
        del question
        return ""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        """Choose steps on an inner fold, fit on all training units."""
        box = _box(fit_mask(question, fold))

        def reduce(volumes: Any) -> Inputs:
            return np.asarray(volumes[(slice(None), *box)])

        return _fit_network(self, _Training(question, reduce, _cnn), fold, None)


def _box(mask_SHW: NDArray[np.bool_]) -> tuple[slice, ...]:
    found = np.argwhere(mask_SHW)
    low, high = found.min(axis=0), found.max(axis=0) + 1
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _mlp(shape: tuple[int, ...], num_classes: int) -> Any:
    from torch import nn

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(int(np.prod(shape)), HIDDEN),
        nn.GELU(),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, num_classes),
    )


def _cnn(shape: tuple[int, ...], num_classes: int) -> Any:
    from torch import nn

    pooled = tuple(min(2, side) for side in shape[1:])
    return nn.Sequential(
        nn.Conv3d(shape[0], 8, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv3d(8, 16, 3, stride=2, padding=1),
        nn.GELU(),
        nn.AdaptiveAvgPool3d(pooled),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(16 * int(np.prod(pooled)), num_classes),
    )


def _fit_network(
    rung: ParcelMlp | VolumeCnn, training: _Training, fold: Fold, parcels: Parcellation | None
) -> FittedRung:
    rows = training_rows(fold)
    steps, decay = _choose(rung, training, rows)
    return _FittedNetwork(
        training=training,
        fit=training.fit(rows, decay=decay, num_steps=steps),
        chosen={"steps": steps, "weight_decay": decay},
        parcels=parcels,
    )


def _choose(
    rung: ParcelMlp | VolumeCnn, training: _Training, rows: list[int]
) -> tuple[int, float]:
    """Return the steps and decay with the least log-loss of left-out units, classes alike."""
    losses = np.zeros((len(rung.decays), len(rung.steps)))
    inner = list(training.question.inner_folds(rows, max(3, rung.num_inner)))[: rung.num_inner]
    for kept, left_out in inner:
        for index, decay in enumerate(rung.decays):
            losses[index] += training.losses(kept, left_out, decay=decay, steps=rung.steps)
    decay_index, step_index = np.unravel_index(int(np.argmin(losses)), losses.shape)
    return rung.steps[int(step_index)], rung.decays[int(decay_index)]


@dataclass(frozen=True, slots=True)
class _Fit:
    """A network, the classes of its outputs, and what its inputs are standardised with."""

    network: Any
    classes: NDArray[np.int64]
    mean: Inputs
    scale: float

    def standard(self, inputs: Inputs) -> Any:
        """Return inputs as a tensor, float32."""
        import torch

        return torch.from_numpy((inputs - self.mean) / np.float32(self.scale))

    def shares(self, inputs: Inputs) -> Floats:
        """Return the probabilities of each sequence, (sequences, K)."""
        import torch

        self.network.eval()
        with torch.no_grad():
            parts = [
                self.network(self.standard(inputs[start : start + EVALUATED])).softmax(1)
                for start in range(0, len(inputs), EVALUATED)
            ]
        return np.asarray(torch.cat(parts).double().numpy())


@dataclass(frozen=True, slots=True)
class _Training:
    question: Question
    reduce: Callable[[Any], Inputs]
    build: Callable[[tuple[int, ...], int], Any]
    reduced: dict[int, Inputs] = field(default_factory=dict)

    def inputs(self, rows: Sequence[int]) -> Inputs:
        """Return the reduced volumes of the sequences of some units, (sequences, T, ...)."""
        table = self.question.table
        found = []
        for index in table.sequences_of(tuple(rows)):
            run = int(table.run_of_sequence[index])
            if run not in self.reduced:
                self.reduced[run] = self.reduce(self.question.volumes(run))
            found.append(self.reduced[run][table.volumes_of_sequence[index]])
        return np.stack(found)

    def fit(
        self,
        rows: Sequence[int],
        *,
        decay: float,
        num_steps: int,
        watch: Callable[[int, _Fit], None] | None = None,
    ) -> _Fit:
        """Return a network after so many steps; ``watch`` is told of each."""
        import torch

        from spectrum.training.seeds import derived_seed, own_rng

        inputs, labels, classes = self.inputs(rows), *self._labels(rows)
        mean = inputs.mean(axis=0, dtype=np.float32)
        scale = max(float(inputs.std(dtype=np.float32)), 1e-6)
        with own_rng(derived_seed(self.question.seed, "baseline"), torch.device("cpu")):
            fit = _Fit(self.build(inputs.shape[1:], classes.size), classes, mean, scale)
            optimizer = torch.optim.AdamW(fit.network.parameters(), lr=LR, weight_decay=decay)
            criterion = torch.nn.CrossEntropyLoss(_weights(labels), label_smoothing=0.05)
            for step, batch in enumerate(_batches(len(labels), num_steps), start=1):
                fit.network.train()
                optimizer.zero_grad()
                criterion(fit.network(fit.standard(inputs[batch])), labels[batch]).backward()
                optimizer.step()
                if watch is not None:
                    watch(step, fit)
        return fit

    def _labels(self, rows: Sequence[int]) -> tuple[Any, NDArray[np.int64]]:
        import torch

        table = self.question.table
        classes = np.unique(self.question.classes(rows))
        found = table.class_of_sequence[table.sequences_of(tuple(rows))]
        return torch.from_numpy(np.searchsorted(classes, found)), classes

    def losses(
        self, kept: Sequence[int], left_out: Sequence[int], *, decay: float, steps: Sequence[int]
    ) -> Floats:
        """Return the log-loss of left-out units after each number of steps."""
        truth = self.question.classes(left_out)
        weights = 1 / np.bincount(truth)[truth]
        found: dict[int, float] = {}

        def watch(step: int, fit: _Fit) -> None:
            if step in steps:
                shares = self.shares(fit, left_out)
                of_truth = shares[np.arange(truth.size), np.searchsorted(fit.classes, truth)]
                loss = weights * np.log(np.maximum(of_truth, SMALLEST))
                found[step] = float(-loss.sum() / weights.sum())

        self.fit(kept, decay=decay, num_steps=max(steps), watch=watch)
        return np.array([found[step] for step in steps])

    def shares(self, fit: _Fit, rows: Sequence[int]) -> Floats:
        """Return the mean probabilities of the sequences of each unit, (units, K)."""
        table = self.question.table
        of_sequence = fit.shares(self.inputs(rows))
        units = table.unit_of_sequence[table.sequences_of(tuple(rows))]
        return np.stack([of_sequence[units == row].mean(axis=0) for row in rows])


def _weights(labels: Any) -> Any:
    """Return weights of classes that make each count alike."""
    counts = labels.bincount()
    return counts.sum() / counts / len(counts)


def _batches(num_sequences: int, num_steps: int) -> Iterator[Any]:
    """Yield so many batches, in passes of new order."""
    import torch

    done = 0
    while done < num_steps:
        order = torch.randperm(num_sequences).numpy()
        for start in range(0, num_sequences, BATCH):
            if done < num_steps:
                yield order[start : start + BATCH]
            done += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _FittedNetwork:
    training: _Training
    fit: _Fit
    chosen: Mapping[str, float]
    parcels: Parcellation | None

    @property
    def state(self) -> Mapping[str, Any]:
        found = {name: value.numpy() for name, value in self.fit.network.state_dict().items()}
        found |= {"mean": self.fit.mean, "scale": np.array(self.fit.scale)}
        if self.parcels is not None:
            found |= {"mask": self.parcels.mask_SHW, "weights_PN": self.parcels.weights_PN}
        return found | {name: np.array(value) for name, value in self.chosen.items()}

    def probabilities(self, rows: Sequence[int]) -> Floats:
        return self.training.shares(self.fit, rows)
