"""Where a fit happens: device, precision of the forward pass, and which worker among all this is.

Every worker draws the same global batch and takes its part of it, so that order, augmentation and
step count never depend on the number of workers. Not here: how workers are started (``workers``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from spectrum.config import TrainingConfig
from spectrum.errors import ConfigError

__all__ = ["Parallel", "Place"]


@dataclass(frozen=True, slots=True)
class Parallel:
    """Which worker of how many; ``torch.distributed`` is initialised beyond one."""

    rank: int = 0
    num_workers: int = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Device, precision and worker. Weights and optimiser stay float32 in every precision."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    parallel: Parallel = Parallel()

    @classmethod
    def choose(cls, config: TrainingConfig, parallel: Parallel) -> Place:
        """Return the place that a configuration asks for; ``auto`` takes the best here."""
        device = _device(config)
        return cls(device=device, dtype=_dtype(config, device), parallel=parallel)

    @property
    def num_workers(self) -> int:
        """Workers that share every batch."""
        return self.parallel.num_workers

    def has_room_for(self, num_bytes: int) -> bool:
        """Return whether so much takes at most a quarter of a GPU's memory; a CPU has room."""
        if self.device.type != "cuda":
            return True
        return 4 * num_bytes <= torch.cuda.get_device_properties(self.device).total_memory

    def part(self, count: int) -> slice:
        """Return this worker's part of ``count`` things; the parts cover all, without overlap."""
        rank, num_workers = self.parallel.rank, self.parallel.num_workers
        return slice(count * rank // num_workers, count * (rank + 1) // num_workers)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over all workers, in its own memory, and return it."""
        if self.num_workers > 1:
            distributed.all_reduce(tensor)
        return tensor

    def largest(self, count: int) -> int:
        """Return the largest of the counts of all workers."""
        counts = torch.zeros(self.num_workers, dtype=torch.int64, device=self.device)
        counts[self.parallel.rank] = count
        return int(self.sum(counts).max())

    def autocast(self) -> torch.autocast:
        """Return the context of the forward pass; float32 changes nothing."""
        return torch.autocast(
            self.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32
        )

    def scaler(self) -> torch.amp.GradScaler:
        """Return the loss scaler; float16 alone needs one."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def _device(config: TrainingConfig) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigError(
            "training.device is cuda, but torch finds no GPU. Set training.device to auto or cpu."
        )
    return torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")


def _dtype(config: TrainingConfig, device: torch.device) -> torch.dtype:
    if config.precision == "float16" and device.type == "cpu":
        raise ConfigError(
            "training.precision is float16, which a CPU has no fast arithmetic for. "
            "Set training.precision to auto, float32 or bfloat16."
        )
    if config.precision == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bfloat16 else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
        config.precision
    ]
