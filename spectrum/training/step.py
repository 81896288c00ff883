"""One optimiser step: loss and gradient of a global batch, summed over parts and over workers.

A sequence's loss is its cross-entropy with label smoothing over the fold's classes, times the
weight of its class; the batch's loss is their sum over the batch's weight sum. Each worker adds
its own sequences, and gradients are summed in one buffer, so the result is that of the whole batch
whatever it was divided into, uneven last batches included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectrum.config import TrialConfig
from spectrum.data.units import Fold
from spectrum.training.augmentation import Augmentation
from spectrum.training.batches import iter_batches
from spectrum.training.feeds import Feed
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.place import Place
from spectrum.training.schedule import build_optimizer, set_lr

__all__ = ["Stepper", "Totals", "class_weights"]

NUM_TOTALS = 6
"""Added up on the device over an epoch: weighted loss, weight, hits, sequences, norms, steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """An epoch in numbers: loss per weighted sequence, accuracy, mean gradient norm, sequences."""

    loss: float
    accuracy: float
    gradient_norm: float
    num_sequences: int


def class_weights(class_index: Tensor, num_classes: int, *, is_balanced: bool) -> Tensor:
    """Return the weight of each class, (K,): N / (K n) for a class with n of N sequences, or 1."""
    counts = torch.bincount(class_index, minlength=num_classes).double()
    if not is_balanced:
        return torch.ones_like(counts, dtype=torch.float32)
    num_present = (counts > 0).sum()
    weights = len(class_index) / (num_present * counts.clamp(min=1.0))
    return torch.where(counts > 0, weights, 0.0).float()


class Stepper:
    """Model, optimiser and gradient buffer of one fold, and the sums of the current epoch.

    Parameters
    ----------
    model : on the device of ``feed``
    training : (N,), indices of the training sequences, on the device
    """

    def __init__(
        self,
        model: nn.Module,
        feed: Feed,
        fold: Fold,
        *,
        training: Tensor,
        config: TrialConfig,
        place: Place,
    ) -> None:
        self.model = model
        self.feed = feed
        self.inputs = ModelInputs.of_feed(feed, config.model)
        self.config = config
        self.place = place
        self.classes = torch.tensor(fold.classes, device=feed.device)
        num_classes = len(feed.source.table.classes)
        self.local_class = torch.zeros(num_classes, dtype=torch.int64, device=feed.device)
        self.local_class[self.classes] = torch.arange(len(fold.classes), device=feed.device)
        self.weights_K = class_weights(
            feed.class_index[training],
            num_classes,
            is_balanced=config.training.class_weights == "balanced",
        )
        self.optimizer = build_optimizer(model, config.optimizer)
        self.scaler = place.scaler()
        self.gradient = _flat_gradient(model)
        self.totals = torch.zeros(NUM_TOTALS, dtype=torch.float64, device=feed.device)

    def step(
        self, batch: Tensor, slices_BTSHW: Tensor, *, lr: float, augmentation: Augmentation
    ) -> None:
        """Make one step on a global batch of sequence indices (B,).

        Parameters
        ----------
        slices_BTSHW : of this worker's part of the batch alone
        lr : of this step
        augmentation : of this epoch
        """
        set_lr(self.optimizer, lr)
        self.gradient.zero_()
        weight_sum = self.weights_K[self.feed.class_index[batch]].sum()
        own = self.place.part(len(batch))
        slices = augmentation.apply(slices_BTSHW, part=own, num_global=len(batch))
        for part in self._parts(len(slices)):
            self._accumulate(slices[part], batch[own][part], weight_sum)
        self._update()

    def read_totals(self) -> Totals:
        """Return the sums of the epoch over all workers, and set them to zero."""
        loss, weight, correct, count, norm, steps = self.place.sum(self.totals).tolist()
        self.totals.zero_()
        steps_of_one = steps / self.place.num_workers
        norm_of_one = norm / self.place.num_workers
        return Totals(
            loss=loss / weight,
            accuracy=correct / count,
            gradient_norm=norm_of_one / max(steps_of_one, 1.0),
            num_sequences=round(count),
        )

    def _parts(self, num_own: int) -> Iterator[slice]:
        size = math.ceil(max(1, num_own) / self.config.optimizer.accumulation_steps)
        return iter_batches(num_own, size)

    def _accumulate(self, slices_BTSHW: Tensor, sequences: Tensor, weight_sum: Tensor) -> None:
        true_class = self.feed.class_index[sequences]
        weights = self.weights_K[true_class]
        local = self.local_class[true_class]
        with self.place.autocast():
            logits_BK = self.model(slices_BTSHW, **self.inputs.of(sequences))
            logits_BK = logits_BK[:, self.classes].float()
        losses = functional.cross_entropy(
            logits_BK,
            local,
            reduction="none",
            label_smoothing=self.config.training.label_smoothing,
        )
        loss_sum = (losses * weights).sum()
        torch.autograd.backward(self.scaler.scale(loss_sum / weight_sum))
        hits = (logits_BK.detach().argmax(dim=1) == local).sum()
        self.totals[:3] += torch.stack([loss_sum.detach(), weights.sum(), hits]).double()
        self.totals[3] += len(sequences)

    def _update(self) -> None:
        self.place.sum(self.gradient)
        self.scaler.unscale_(self.optimizer)
        norm = self.gradient.norm()
        self.gradient.mul_((self.config.optimizer.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # A scaler in search of its scale skips a step whose gradient overflows: no norm then.
        counts = norm.isfinite() if self.scaler.is_enabled() else torch.ones_like(norm).bool()
        self.totals[4] += torch.where(counts, norm, 0.0)
        self.totals[5] += counts


def _flat_gradient(model: nn.Module) -> Tensor:
    """Give all parameters gradients that are views of one buffer, and return the buffer."""
    parameters = list(model.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    sizes = [p.numel() for p in parameters]
    for parameter, view in zip(parameters, torch.split(flat, sizes), strict=True):
        parameter.grad = view.view_as(parameter)
    return flat
