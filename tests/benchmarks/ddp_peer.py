"""The fit of the benchmark ``workers`` as a script for torchrun: DistributedDataParallel, bare.

    torchrun --nproc-per-node 2 -m tests.benchmarks.ddp_peer SHARDS CONFIG.json OUT.json

The first process writes the seconds of each epoch, evaluation of the held-out side included.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from spectrum.config import TrialConfig
from spectrum.data.sequences import read_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import SequenceData
from spectrum.model.slice_vit import build_model
from spectrum.targets import read_target
from spectrum.training.batches import draw_epoch
from spectrum.training.losses import class_weights
from spectrum.training.schedule import build_optimizer, lr_at, set_lr
from spectrum.training.trial import draw_trial_folds


def main() -> None:
    shards, config_path, out = (Path(argument) for argument in sys.argv[1:])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    seconds = fit(shards, TrialConfig.model_validate_json(config_path.read_text()))
    if distributed.get_rank() == 0:
        out.write_text(json.dumps(seconds))
    distributed.destroy_process_group()


@dataclass(frozen=True, slots=True)
class Data:
    """All sequences in memory, those of either side of the fold, and the class of each."""

    slices: Tensor
    rows_NT: Tensor
    classes: Tensor
    training: Tensor
    held_out: Tensor

    def read(self, sequences: Tensor) -> Tensor:
        return self.slices[self.rows_NT[sequences]].float()


def fit(shards: Path, config: TrialConfig) -> list[float]:
    source = read_sequences(ShardSet.open(shards), read_target(config.target), config.sequences)
    data = data_of(source, config)
    torch.manual_seed(0)
    num_slices, height, width = source.volume_shape
    model = build_model(
        config.model,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=source.table.num_volumes,
        num_classes=2,
    )
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = build_optimizer(model, config.optimizer)
    seconds = []
    for epoch in range(config.training.num_epochs):
        begin = time.perf_counter()
        train_epoch(parallel, optimizer, data, config, epoch)
        predict(model, data)
        seconds.append(time.perf_counter() - begin)
    return seconds


def data_of(source: SequenceData, config: TrialConfig) -> Data:
    fold, table = draw_trial_folds(source, config)[0], source.table
    first = torch.from_numpy(source.first_volume_of_sequence)
    return Data(
        slices=torch.from_numpy(source.slices_VSHW),
        rows_NT=first[:, None] + torch.from_numpy(table.offsets),
        classes=torch.from_numpy(table.class_of_sequence),
        training=torch.from_numpy(table.sequences_of(fold.training)),
        held_out=torch.from_numpy(table.sequences_of(fold.validation)),
    )


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data,
    config: TrialConfig,
    epoch: int,
) -> None:
    training = config.training
    weights = class_weights(data.classes[data.training], 2, is_balanced=True)
    order = draw_epoch(
        data.training,
        batch_size=training.batch_size,
        min_steps=training.min_steps_per_epoch,
        generator=torch.Generator().manual_seed(epoch),
    )
    model.train()
    batches = order.split(training.batch_size)
    for index, batch in enumerate(batches):
        own = batch.tensor_split(distributed.get_world_size())[distributed.get_rank()]
        x = data.read(own)
        x = x + training.noise_std * torch.randn_like(x) * (x != 0)
        step, num_steps = epoch * len(batches) + index, training.num_epochs * len(batches)
        set_lr(optimizer, lr_at(step, num_steps=num_steps, config=config.optimizer))
        optimizer.zero_grad()
        functional.cross_entropy(
            model(x), data.classes[own], weight=weights, label_smoothing=0.1
        ).backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
        optimizer.step()


def predict(model: nn.Module, data: Data) -> Tensor:
    said = torch.zeros(len(data.held_out), 2)
    rows = torch.arange(len(said)).tensor_split(distributed.get_world_size())
    model.eval()
    with torch.inference_mode():
        for some in rows[distributed.get_rank()].split(32):
            said[some] = model(data.read(data.held_out[some])).softmax(1)
    distributed.all_reduce(said)
    return said


if __name__ == "__main__":
    main()
