"""One fold in the making: its model and optimiser, what is kept, and when it ends.

Not here: how an epoch's steps are computed (``step``), how sequences are drawn (``batches``), what
is left of a fold at its end (``fold_end``), and how it goes on after a stop (``course``).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from spectrum.config import TrialConfig
from spectrum.data.units import Fold
from spectrum.errors import ConfigError, LeakageError, TrainingError
from spectrum.model.slice_vit import SliceViT, build_model
from spectrum.model.weights import start_from_weights
from spectrum.records import EpochRecord, FoldRecord
from spectrum.training.augmentation import LEFT_RIGHT_AXIS, Augmentation
from spectrum.training.batches import draw_epoch, iter_batches, num_steps
from spectrum.training.feeds import Feed
from spectrum.training.fold_end import FoldEnd, Kept
from spectrum.training.fold_state import FitState, KeptState, put_back, tensors_of
from spectrum.training.harmonising import feed_of_fold
from spectrum.training.micro_batch import probed_num_parts
from spectrum.training.mixing import Mixing, draw_mixing
from spectrum.training.place import Place
from spectrum.training.predictions import Evaluation, Evaluator
from spectrum.training.schedule import lr_at
from spectrum.training.seeds import derived_seed, own_rng
from spectrum.training.step import Stepper, Totals

__all__ = ["FoldFit"]


class FoldFit:
    """One fold in the making: ``advance`` until ``is_finished``, then ``finish``.

    The last epoch is kept, or with ``training.patience_epochs`` the one of the lowest loss on the
    fold's monitor units. The held-out side is predicted after each epoch and decides nothing.
    """

    def __init__(self, feed: Feed, fold: Fold, config: TrialConfig, *, place: Place) -> None:
        _check_fold(fold, config)
        feed = feed_of_fold(feed, fold)
        self.fold = fold
        self.config = config
        self.feed = feed
        self.place = place
        self.epoch = 0
        self.is_finished = False
        self.training = torch.from_numpy(feed.source.table.sequences_of(fold.training))
        self.steps_per_epoch = num_steps(
            len(self.training),
            batch_size=config.training.batch_size,
            min_steps=config.training.min_steps_per_epoch,
        )
        with own_rng(self._seed("weights"), place.device):
            self.model = _build(feed, config).to(place.device)
        if config.training.gradient_checkpointing:
            self.model.encoder.set_grad_checkpointing()
        self.level = feed.level(self.training.to(place.device))
        self.model.input_scale.fill_(1.0 / self.level)
        self.stepper = Stepper(
            self.model,
            feed,
            fold,
            training=self.training.to(place.device),
            config=config,
            place=place,
        )
        self._knows_parts = config.optimizer.accumulation_steps != "auto"
        self.evaluator = Evaluator(
            feed=feed,
            fold=fold,
            place=place,
            inputs=self.stepper.inputs,
            batch_size=config.training.evaluation_batch_size,
        )
        self.kept: Kept | None = None

    def advance(self) -> EpochRecord:
        """Train one epoch, predict the held-out side, and decide whether to go on."""
        if not self._knows_parts:
            self.stepper.num_parts, self._knows_parts = self._probed_num_parts(), True
        with own_rng(self._seed("epoch", self.place.parallel.rank), self.place.device):
            totals = self._train_epoch()
        validation = self.evaluator.evaluate(self.model, self.fold.validation)
        monitor_loss = self._keep_if_best(validation)
        record = EpochRecord(
            fold=self.fold.name,
            epoch=self.epoch,
            training_loss=totals.loss,
            training_accuracy=totals.accuracy,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            lr=self._lr((self.epoch + 1) * self.steps_per_epoch - 1),
            num_sequences=totals.num_sequences,
            metrics={"gradient_norm": totals.gradient_norm, **monitor_loss},
            predictions=validation.predictions,
        )
        self.epoch += 1
        self.is_finished = self._has_ended()
        return record

    def finish(self, checkpoint: Path | None = None) -> FoldRecord:
        """Return the record of the kept epoch, and write its weights where a folder is given."""
        assert self.kept is not None
        end = FoldEnd(self.feed, self.fold, self.config, place=self.place, kept=self.kept)
        return replace(end.finish(checkpoint), notes=self.stepper.notes)

    def state(self) -> FitState:
        """Return what the fold needs to go on from here, without records."""
        kept = None
        if self.kept is not None:
            kept = KeptState(self.kept.epoch, self.kept.monitor_loss, self.kept.weights)
        model, optimizer = self.model, self.stepper.optimizer
        return FitState(
            epoch=self.epoch,
            is_finished=self.is_finished,
            tensors={} if self.is_finished else tensors_of(model, optimizer),
            scaler=self.stepper.scaler.state_dict(),
            kept=kept,
            num_parts=self.stepper.num_parts,
        )

    def restore(self, state: FitState) -> None:
        """Go on from a state, with the records of the epochs that it has done."""
        self.epoch, self.is_finished = state.epoch, state.is_finished
        # Another memory would give other parts, and those other numbers of dropout.
        self.stepper.num_parts, self._knows_parts = state.num_parts, True
        if not state.is_finished:
            put_back(state.tensors, self.model, self.stepper.optimizer)
            self.stepper.scaler.load_state_dict(dict(state.scaler))
        if state.kept is not None:
            self.kept = Kept.of_state(state)

    def _train_epoch(self) -> Totals:
        training = self.config.training
        order = draw_epoch(
            self.training,
            batch_size=training.batch_size,
            min_steps=training.min_steps_per_epoch,
            generator=torch.Generator().manual_seed(self._seed("order")),
            run_of_sequence=self.feed.source.table.run_of_sequence,
            shuffle_runs=training.shuffle_runs,
        ).to(self.place.device)
        augmentation = Augmentation(
            training,
            level=self.level,
            seed=self._seed("augmentation"),
            device=self.place.device,
            left_right_axis=LEFT_RIGHT_AXIS[self.config.sequences.plane],
        )
        self.model.train()
        batches = [order[part] for part in iter_batches(len(order), training.batch_size)]
        mixings = [self._mixing(batch, index) for index, batch in enumerate(batches)]
        own = self.feed.iter_read([*map(self._own_part, batches, mixings)])
        drawn = zip(batches, mixings, own, strict=True)
        for index, (batch, mixing, slices_BTSHW) in enumerate(drawn):
            self.stepper.step(
                batch,
                slices_BTSHW,
                lr=self._lr(self.epoch * self.steps_per_epoch + index),
                augmentation=augmentation,
                mixing=mixing,
            )
        return self._checked(self.stepper.read_totals())

    def _probed_num_parts(self) -> int:
        num_sequences = math.ceil(self.config.training.batch_size / self.place.num_workers)
        with own_rng(self._seed("probe"), self.place.device):
            num_parts = probed_num_parts(self.stepper, num_sequences=num_sequences)
        return self.place.largest(num_parts)

    def _mixing(self, batch: Tensor, batch_index: int) -> Mixing | None:
        alpha = self.config.training.mixup_alpha
        if not alpha:
            return None
        seed = self._seed("augmentation")
        return draw_mixing(batch, alpha=alpha, seed=seed, batch_index=batch_index)

    def _own_part(self, batch: Tensor, mixing: Mixing | None) -> Tensor:
        """Return the sequences that this worker reads of a global batch."""
        own = self.place.part(len(batch))
        return batch[own] if mixing is None else torch.cat([batch[own], mixing.partners[own]])

    def _checked(self, totals: Totals) -> Totals:
        if not (math.isfinite(totals.loss) and math.isfinite(totals.gradient_norm)):
            raise TrainingError(
                f"fold {self.fold.name}: the training loss of epoch {self.epoch} is {totals.loss} "
                f"and the gradient norm {totals.gradient_norm}, with "
                f"optimizer.lr={self.config.optimizer.lr}. Both must be finite: lower the "
                "rate, or set training.precision to float32."
            )
        return totals

    def _keep_if_best(self, validation: Evaluation) -> dict[str, float]:
        """Keep this epoch where it is the best so far; return the monitor's metrics."""
        if self.config.training.patience_epochs is None:
            if self.epoch + 1 == self.config.training.num_epochs:
                self.kept = Kept(self.epoch, None, validation, self._weights())
            return {}
        monitor = self.evaluator.evaluate(self.model, self.fold.monitor)
        best = self.kept.monitor_loss if self.kept is not None else None
        if best is None or monitor.loss < best:
            self.kept = Kept(self.epoch, monitor.loss, validation, self._weights())
        return {"monitor_loss": monitor.loss, "monitor_accuracy": monitor.accuracy}

    def _has_ended(self) -> bool:
        """Whether all epochs are done, or patience is at its end; ``epoch`` epochs are done."""
        patience = self.config.training.patience_epochs
        if self.epoch >= self.config.training.num_epochs:
            return True
        if patience is None or self.kept is None:
            return False
        return self.epoch - 1 - self.kept.epoch >= patience

    def _lr(self, step: int) -> float:
        total = self.steps_per_epoch * self.config.training.num_epochs
        return lr_at(step, num_steps=total, config=self.config.optimizer)

    def _seed(self, *use: str | int) -> int:
        return derived_seed(self.config.seed, self.fold.name, self.epoch, *use)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.cpu().clone() for name, value in self.model.state_dict().items()}


def _build(feed: Feed, config: TrialConfig) -> SliceViT:
    num_slices, height, width = feed.source.volume_shape
    model = build_model(
        config.model,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=feed.source.table.num_volumes,
        num_classes=len(feed.source.table.classes),
    )
    if config.model.weights is not None:
        start_from_weights(model.encoder, config.model)
    return model


def _check_fold(fold: Fold, config: TrialConfig) -> None:
    sides = {
        "training": set(fold.training),
        "validation": set(fold.validation),
        "monitor": set(fold.monitor),
    }
    for one, other in (
        ("training", "validation"),
        ("training", "monitor"),
        ("validation", "monitor"),
    ):
        shared = sides[one] & sides[other]
        if shared:
            raise LeakageError(
                f"fold {fold.name}: {len(shared)} unit(s) stand in {one} and in {other}. "
                "The sides of a fold must not overlap; draw the folds again."
            )
    if config.training.patience_epochs is not None and not fold.monitor:
        raise ConfigError(
            f"training.patience_epochs is {config.training.patience_epochs}, but fold {fold.name} "
            "has no monitor units. Draw the folds with training.monitor_fraction, or set "
            "patience_epochs to null."
        )
    if not fold.training:
        raise ConfigError(f"fold {fold.name} has no training unit. It needs at least one.")
