"""How a model is fitted: optimiser, schedule per step, loss, augmentation, precision, workers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spectrum.config.frozen import FrozenConfig

__all__ = ["OptimizerConfig", "TrainingConfig"]


class OptimizerConfig(FrozenConfig):
    """AdamW (Loshchilov & Hutter 2019) with linear warm-up and cosine decay, both per step."""

    lr: float = Field(default=2e-3, gt=0.0, le=1.0)
    """Peak learning rate."""

    weight_decay: float = Field(default=0.05, ge=0.0, le=1.0)
    """Decoupled weight decay of matrices; biases, norms and position embeddings have none."""

    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of the first moment."""

    beta2: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Decay of the second moment."""

    warmup_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of all steps over which the rate rises linearly from 0 to ``lr``."""

    final_lr_fraction: float = Field(default=0.01, ge=0.0, le=1.0)
    """Rate at the last step over the peak rate."""

    clip_norm: float = Field(default=1.0, gt=0.0)
    """Gradients are scaled down to this norm."""

    accumulation_steps: int = Field(default=1, ge=1, le=1024)
    """Parts that a batch is computed in, in turn; the gradient is that of the whole batch."""


class TrainingConfig(FrozenConfig):
    """Epochs, batches, loss, augmentation, early stopping, precision and workers."""

    num_epochs: int = Field(default=10, ge=1, le=10000)
    """Passes over the training sequences."""

    min_steps_per_epoch: int = Field(default=25, ge=1, le=100000)
    """Optimiser steps that an epoch has at least: a training set too small for so many batches is
    passed over several times in an epoch, so that a hundred sequences still make a fit."""

    batch_size: int = Field(default=16, ge=1, le=65536)
    """Sequences in a batch, over all workers together."""

    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability that the loss spreads over the other classes."""

    class_weights: Literal["none", "balanced"] = "balanced"
    """``balanced``: each class weighs the same in the loss, whatever its number of sequences."""

    noise_std: float = Field(default=0.5, ge=0.0, le=10.0)
    """Standard deviation of Gaussian noise added to training slices, over the root mean square of
    the training voxels."""

    slice_drop_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the slices of a training sequence that are set to zero at random."""

    patience_epochs: int | None = Field(default=None, ge=1)
    """Epochs without a better monitor loss before a fold stops; None trains all epochs and keeps
    the last. The monitor is cut from the training groups, never from the held-out side."""

    monitor_fraction: float = Field(default=0.2, gt=0.0, lt=0.9)
    """Share of the training groups that only watch, when ``patience_epochs`` is set."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the forward pass; ``auto`` is bfloat16 on a GPU that has it, else float32."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model lives; ``auto`` is the first GPU, or the CPU without one."""

    workers: int = Field(default=1, ge=1, le=1024)
    """Data-parallel workers. More than one goes through Ray Train."""
