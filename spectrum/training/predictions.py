"""What a model says of units: class probabilities of sequences, and their mean over each unit.

Logits of classes that a fold does not score are left out before the softmax, so their probability
is exactly 0. Every sequence is computed by exactly one worker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectrum.data.units import Fold
from spectrum.records import Prediction
from spectrum.training.batches import iter_batches
from spectrum.training.feeds import Feed
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.place import Place

__all__ = ["Evaluation", "Evaluator"]

VOXELS_ALONE = ModelInputs()
"""Nothing besides voxels."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Loss (nats per sequence), accuracy over sequences, and one prediction per unit."""

    loss: float
    accuracy: float
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Asks a model about units of one fold, on this worker and all others together."""

    feed: Feed
    fold: Fold
    place: Place
    inputs: ModelInputs = VOXELS_ALONE
    batch_size: int = 32

    def evaluate(self, model: nn.Module, unit_indices: tuple[int, ...]) -> Evaluation:
        """Return loss, accuracy and predictions of some units.

        Units without sequences have no prediction; without any sequence, loss and accuracy are 0.
        """
        table = self.feed.source.table
        sequences = table.sequences_of(unit_indices)
        probabilities_NK = self.probabilities(model, sequences)
        true_class = table.class_of_sequence[sequences]
        likelihood = probabilities_NK[np.arange(len(sequences)), true_class]
        hits = probabilities_NK.argmax(axis=1) == true_class
        return Evaluation(
            loss=float(-np.log(np.maximum(likelihood, 1e-12)).sum()) / max(1, len(sequences)),
            accuracy=float(hits.sum()) / max(1, len(sequences)),
            predictions=self._predictions(sequences, probabilities_NK),
        )

    def probabilities(self, model: nn.Module, sequences: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the class probabilities of some sequences, (N, K) over all classes."""
        num_classes = len(self.feed.source.table.classes)
        classes = torch.tensor(self.fold.classes, device=self.feed.device)
        indices = torch.from_numpy(sequences).to(self.feed.device)
        gathered = torch.zeros(
            len(sequences), num_classes, dtype=torch.float64, device=self.feed.device
        )
        own = self.place.part(len(sequences))
        model.eval()
        with torch.inference_mode():
            parts = list(iter_batches(own.stop - own.start, self.batch_size))
            slices_of_part = self.feed.iter_read([indices[own][part] for part in parts])
            for part, slices_BTSHW in zip(parts, slices_of_part, strict=True):
                inputs = self.inputs.of(indices[own][part])
                gathered[own][part, classes] = self._softmax(model, slices_BTSHW, inputs, classes)
        probabilities: NDArray[np.float64] = self.place.sum(gathered).cpu().numpy()
        return probabilities

    def _softmax(
        self, model: nn.Module, slices_BTSHW: Tensor, inputs: dict[str, Tensor], classes: Tensor
    ) -> Tensor:
        with self.place.autocast():
            logits_BK = model(slices_BTSHW, **inputs)
        probabilities: Tensor = logits_BK[:, classes].double().softmax(dim=1)
        return probabilities

    def _predictions(
        self, sequences: NDArray[np.int64], probabilities_NK: NDArray[np.float64]
    ) -> tuple[Prediction, ...]:
        table = self.feed.source.table
        unit_of_row = table.unit_of_sequence[sequences]
        answers = probabilities_NK.argmax(axis=1)
        num_classes = len(table.classes)
        return tuple(
            table.units[unit].predicted(
                probabilities_NK[unit_of_row == unit].mean(axis=0),
                classes=table.classes,
                fold=self.fold.name,
                sequence_answers=np.bincount(
                    answers[unit_of_row == unit], minlength=num_classes
                ).tolist(),
            )
            for unit in np.unique(unit_of_row)
        )
