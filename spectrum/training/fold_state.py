"""What a fold needs to go on after a stop, as plain tensors and numbers.

The order of sequences, dropout and augmentation are drawn anew from the seed, the fold and the
epoch, so no generator is part of it; nor is the learning rate, which the step decides. Not here:
how it lies on disk (``state_files``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectrum.records import EpochRecord

__all__ = ["FitState", "KeptState", "put_back", "tensors_of"]


@dataclass(frozen=True, slots=True)
class KeptState:
    """The epoch that a fold would end with, and its weights by name."""

    epoch: int
    monitor_loss: float | None
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitState:
    """A fold between two epochs.

    ``epoch`` counts the epochs done; ``tensors`` are those of model and optimiser, none where the
    fold is finished; ``scaler`` is that of the loss, empty without one; ``records`` are those of
    the epochs done.
    """

    epoch: int
    is_finished: bool
    tensors: Mapping[str, Tensor]
    scaler: Mapping[str, float]
    kept: KeptState | None
    records: tuple[EpochRecord, ...] = ()


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors of model and optimiser by name, on the CPU."""
    named = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        named |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    return {name: value.detach().cpu() for name, value in named.items()}


def put_back(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Give model and optimiser the values that ``tensors_of`` took from their like."""
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        owner, _, rest = name.partition("/")
        if owner == "model":
            weights[rest] = value
        else:
            index, _, moment = rest.partition("/")
            moments.setdefault(int(index), {})[moment] = value
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
