"""How a model is fitted: optimiser, schedule, loss, augmentation, feeding, precision, workers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spectrum.config.frozen import FrozenConfig

__all__ = ["OptimizerConfig", "TrainingConfig"]


class OptimizerConfig(FrozenConfig):
    """AdamW (Loshchilov & Hutter 2019) with linear warm-up and cosine decay, both per step."""

    lr: float = Field(default=2e-3, gt=0.0, le=1.0)
    """Peak learning rate."""

    weight_decay: float = Field(default=0.05, ge=0.0, le=1.0)
    """Decoupled weight decay of matrices; biases, norms and positions, be they tables or maps of
    waves, have none."""

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

    accumulation_steps: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = 1
    """Parts that a batch is computed in, in turn; the gradient is that of the whole batch.
    ``auto`` measures on a GPU, before each fold, into how few parts a batch fits its memory, and
    is 1 on a CPU; a fold keeps them across stops. Dropout is another one with other parts."""


class TrainingConfig(FrozenConfig):
    """Epochs, batches, loss, augmentation, early stopping, precision and workers."""

    num_epochs: int = Field(default=10, ge=1, le=10000)
    """Passes over the training sequences."""

    min_steps_per_epoch: int = Field(default=25, ge=1, le=100000)
    """Optimiser steps that an epoch has at least: a training set too small for so many batches is
    passed over several times in an epoch, so that a hundred sequences still make a fit."""

    batch_size: int = Field(default=16, ge=1, le=65536)
    """Sequences in a batch, over all workers together."""

    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """What a sequence adds to the loss. ``focal`` (Lin et al. 2017, eq. 4): its cross-entropy
    times ``(1 - p)^focal_gamma``, with p the probability of its class, so that sequences that are
    told already weigh little."""

    focal_gamma: float = Field(default=2.0, ge=0.0, le=10.0)
    """Exponent of the focal loss; 0 is the cross-entropy. 2 is the paper's choice."""

    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Probability that the loss spreads over the other classes."""

    class_weights: Literal["none", "balanced"] = "balanced"
    """``balanced``: each class weighs the same in the loss, whatever its number of sequences."""

    mixup_alpha: float = Field(default=0.0, ge=0.0, le=10.0)
    """Mixup (Zhang et al. 2018): each training sequence becomes a mixture with another one of its
    batch, and its loss the same mixture of both classes' losses. The larger share is its own; the
    shares are drawn from Beta(alpha, alpha). 0 mixes nothing; the paper takes 0.1 to 0.4."""

    noise_std: float = Field(default=0.5, ge=0.0, le=10.0)
    """Standard deviation of Gaussian noise added to training slices, over the root mean square of
    the training voxels."""

    slice_drop_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the slices of a training sequence that are set to zero at random."""

    temporal_mask_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Longest share of a training sequence's volumes that one block of volumes hides; the block's
    length is drawn evenly from none to that share, rounded up, and one volume always stays. A
    hidden volume becomes the mean of those that stay. 0 hides none."""

    spatial_mask_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Largest share of a training sequence's voxels that one cuboid sets to zero, in all its
    volumes; the share is drawn evenly from 0 up, and the cuboid has the proportions of the volume.
    0 cuts nothing."""

    intensity_scale_fraction: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Each training sequence is multiplied by a factor drawn evenly from 1 minus this to 1 plus
    this; 0 multiplies nothing."""

    intensity_shift_fraction: float = Field(default=0.0, ge=0.0, le=10.0)
    """To each training sequence a constant is added inside the brain, drawn evenly from minus this
    to plus this, over the root mean square of the training voxels; 0 adds nothing."""

    rotation_degrees: float = Field(default=0.0, ge=0.0, le=45.0)
    """Largest in-plane rotation of a training sequence about the centre of its slices, degrees;
    drawn evenly to either side, the same for all its slices and volumes. Voxels count as square in
    the plane, as they are on the ``common`` grid. 0 turns nothing."""

    shift_fraction: float = Field(default=0.0, ge=0.0, le=0.5)
    """Largest in-plane shift of a training sequence along rows and along columns, over the slice's
    edge in that direction; drawn evenly to either side. 0 shifts nothing."""

    mirror_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of training sequences whose left and right change places. 0 by default: hemispheres
    differ in what they do and in shape, and learning is lateralised (verbal rules left, spatial
    memory right), so a mirrored brain is one that does not exist, with the class of one that does.
    """

    shuffle_runs: int | None = Field(default=None, ge=1)
    """Runs whose sequences are mixed at a time: each epoch takes the runs in random order, so many
    after another, and mixes the sequences of those. None mixes the sequences of all runs. A number
    lets ``feeding: stream`` read each run once an epoch; it changes the order, in every mode."""

    harmonisation: Literal["none", "dataset"] = "none"
    """``dataset``: all data sets on one intensity scale. Each data set of a fold's training side
    is put to mean 0 and standard deviation 1 by its training runs; a run of any other data set by
    its own voxels, as nothing else of it may be known. Only for ``preprocessing.standardization:
    none``, as the others leave no scanner unit, and with a brain mask. Off: most recipes
    standardise."""

    feeding: Literal["auto", "device", "node", "stream"] = "auto"
    """Where volumes wait until a batch needs them. ``device``: all on the device, a copy for each
    process. ``node``: all in the shared memory of the node (Ray's object store), one copy for the
    trials and workers there. ``stream``: on disk, read ahead in the order of the batches.
    ``auto``: the first of these that the volumes fit in, shared memory first without a GPU. It
    changes no number."""

    stream_gib: float = Field(default=2.0, gt=0.0, le=4096.0)
    """Memory for volumes that ``feeding: stream`` keeps of what it read, GiB a process."""

    patience_epochs: int | None = Field(default=None, ge=1)
    """Epochs without a better monitor loss before a fold stops; None trains all epochs and keeps
    the last. The monitor is cut from the training groups, never from the held-out side."""

    monitor_fraction: float = Field(default=0.2, gt=0.0, lt=0.9)
    """Share of the training groups that only watch, when ``patience_epochs`` is set."""

    fold_order: Literal["epoch", "fold"] = "epoch"
    """``epoch``: all folds side by side, epoch by epoch, so that a search compares trials over all
    folds from the first epoch on. ``fold``: one fold after the other, with the memory of one
    model, so that a search may end a trial after its first folds. It changes no fold's numbers,
    but by rounding with ``compile``."""

    idle_folds: Literal["auto", "device", "host"] = "auto"
    """Where weights and optimiser of a fold wait while other folds train, epoch by epoch: on the
    device, or in the memory of the host. ``auto`` leaves them on the device where those of all
    folds take at most a quarter of its memory. It changes no number."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the forward pass; ``auto`` is bfloat16 on a GPU that has it, else float32."""

    compile: bool = False
    """Whether training steps go through ``torch.compile``. Where the model or the machine does not
    allow it, the fit goes on without and a note says why. It changes numbers by rounding, and so
    may a stop and ``fold_order``: what is compiled depends on the batches seen before, so that the
    promise of the same bits does not hold with it."""

    gradient_checkpointing: bool = False
    """Whether the slice encoder computes its blocks again on the way back instead of keeping what
    they computed: less memory, about a third more time, the same numbers."""

    evaluation_batch_size: int = Field(default=32, ge=1, le=65536)
    """Sequences in one forward pass without gradients; the last, smaller pass is made as well."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model lives; ``auto`` is the first GPU, or the CPU without one."""

    workers: int = Field(default=1, ge=1, le=1024)
    """Data-parallel workers. More than one goes through Ray Train."""

    max_failures: int = Field(default=3, ge=0, le=1000)
    """Times that several workers begin again from their last epoch after one was lost."""
