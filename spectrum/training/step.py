"""One optimiser step: loss and gradient of a global batch, summed over parts and over workers.

A sequence's loss over the fold's classes (``losses``) is taken times the weight of its class; the
batch's loss is their sum over the batch's weight sum. Each worker adds its own sequences, and
gradients are summed in one buffer, so the result is that of the whole batch whatever it was
divided into, uneven last batches included. Nothing here waits for the device but ``read_totals``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectrum.config import TrialConfig
from spectrum.data.units import Fold
from spectrum.training.augmentation import Augmentation
from spectrum.training.batches import iter_batches
from spectrum.training.compiling import CompiledForward
from spectrum.training.feeds import Feed
from spectrum.training.losses import class_weights, sequence_losses
from spectrum.training.mixing import Mixing
from spectrum.training.model_inputs import ModelInputs
from spectrum.training.place import Place
from spectrum.training.schedule import build_optimizer, set_lr

__all__ = ["Stepper", "Totals"]

NUM_TOTALS = 6
"""Added up on the device over an epoch: weighted loss, weight, hits, sequences, norms, steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """An epoch in numbers: loss per weighted sequence, accuracy, mean gradient norm, sequences."""

    loss: float
    accuracy: float
    gradient_norm: float
    num_sequences: int


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
        self.forward = CompiledForward(model) if config.training.compile else model
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
        wanted = config.optimizer.accumulation_steps
        self.num_parts = 1 if wanted == "auto" else wanted
        self.totals = torch.zeros(NUM_TOTALS, dtype=torch.float64, device=feed.device)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was asked for and could not be had."""
        note = self.forward.note if isinstance(self.forward, CompiledForward) else ""
        return (note,) if note else ()

    def step(
        self,
        batch: Tensor,
        slices_BTSHW: Tensor,
        *,
        lr: float,
        augmentation: Augmentation,
        mixing: Mixing | None = None,
    ) -> None:
        """Make one step on a global batch of sequence indices (B,).

        Parameters
        ----------
        slices_BTSHW : of this worker's part of the batch alone
            With ``mixing`` the partners of the part follow it.
        lr : of this step
        augmentation : of this epoch
        mixing : of the global batch
        """
        set_lr(self.optimizer, lr)
        self.gradient.zero_()
        own = self.place.part(len(batch))
        weight_sum = self._weights(batch, mixing).sum()
        own_mixing = None if mixing is None else mixing.part(own)
        slices = slices_BTSHW if own_mixing is None else own_mixing.mix(slices_BTSHW)
        slices = augmentation.apply(slices, part=own, num_global=len(batch))
        for part in self._parts(len(slices)):
            part_mixing = None if own_mixing is None else own_mixing.part(part)
            self._accumulate(slices[part], batch[own][part], weight_sum, part_mixing)
        self._update()

    def rehearse(self, num_sequences: int) -> None:
        """Compute one part of so many sequences of zeros, and forget its gradient and its sums."""
        source = self.feed.source
        shape = (num_sequences, source.table.num_volumes, *source.volume_shape)
        slices = torch.zeros(shape, device=self.place.device)
        sequences = torch.zeros(num_sequences, dtype=torch.int64, device=self.place.device)
        self.model.train()
        self._accumulate(slices, sequences, torch.ones((), device=self.place.device), None)
        self.gradient.zero_()
        self.totals.zero_()

    def move(self, device: torch.device) -> None:
        """Move weights and optimiser; gradients, which no step needs of another, stay behind."""
        for parameter in self.model.parameters():
            parameter.grad = None
        self.gradient = torch.empty(0)
        self.model.to(device)
        for state in self.optimizer.state.values():
            state.update({name: value.to(device) for name, value in state.items()})
        if device == self.place.device:
            self.gradient = _flat_gradient(self.model)

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
        size = math.ceil(max(1, num_own) / self.num_parts)
        return iter_batches(num_own, size)

    def _accumulate(
        self,
        slices_BTSHW: Tensor,
        sequences: Tensor,
        weight_sum: Tensor,
        mixing: Mixing | None,
    ) -> None:
        with self.place.autocast():
            logits_BK = self.forward(slices_BTSHW, **self.inputs.of(sequences))
            logits_BK = logits_BK[:, self.classes].float()
        loss_sum = self._loss_sum(logits_BK, sequences, None if mixing is None else mixing.share_B)
        if mixing is not None:
            loss_sum = loss_sum + self._loss_sum(logits_BK, mixing.partners, 1.0 - mixing.share_B)
        torch.autograd.backward(self.scaler.scale(loss_sum / weight_sum))
        local = self.local_class[self.feed.class_index[sequences]]
        hits = (logits_BK.detach().argmax(dim=1) == local).sum()
        weight = self._weights(sequences, mixing).sum()
        self.totals[:3] += torch.stack([loss_sum.detach(), weight, hits]).double()
        self.totals[3] += len(sequences)

    def _loss_sum(self, logits_BK: Tensor, sequences: Tensor, share_B: Tensor | None) -> Tensor:
        """Sum the weighted losses that logits have for the classes of some sequences."""
        true_class = self.feed.class_index[sequences]
        weights = self.weights_K[true_class]
        losses = sequence_losses(logits_BK, self.local_class[true_class], self.config.training)
        return (losses * (weights if share_B is None else weights * share_B)).sum()

    def _weights(self, sequences: Tensor, mixing: Mixing | None) -> Tensor:
        """Return the weight of each sequence (B,), that of its partner mixed in."""
        weights = self.weights_K[self.feed.class_index[sequences]]
        if mixing is None:
            return weights
        return torch.lerp(
            self.weights_K[self.feed.class_index[mixing.partners]], weights, mixing.share_B
        )

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
