"""AdamW's parameter groups, and the learning rate of every step."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import nn

from spectrum.config import OptimizerConfig

__all__ = ["build_optimizer", "lr_at", "set_lr"]

POSITIONS: Final = ("slice_position", "temporal_position")
"""Parts of the model that place slices and volumes."""


def lr_at(step: int, *, num_steps: int, config: OptimizerConfig) -> float:
    """Return the rate of one step, counted from 0.

    The rate rises linearly over the first ``warmup_fraction`` of all steps, reaches ``lr`` at the
    end of it, and falls along half a cosine to ``lr * final_lr_fraction`` at the last step.
    """
    num_warmup = math.floor(config.warmup_fraction * num_steps)
    if step < num_warmup:
        return config.lr * (step + 1) / num_warmup
    progress = (step - num_warmup) / max(1, num_steps - 1 - num_warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.lr * (config.final_lr_fraction + (1.0 - config.final_lr_fraction) * cosine)


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Return AdamW whose decay leaves out biases, norms, tokens and positions."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if _is_decayed(name, parameter) else free).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def _is_decayed(name: str, parameter: nn.Parameter) -> bool:
    *owners, word = name.split(".")
    is_position = "position" in word or "pos_embed" in word or "token" in word
    # Waves of millimetres and seconds have a map in the place of a table.
    is_map_of_waves = any(owner in POSITIONS for owner in owners)
    return parameter.ndim >= 2 and not (is_position or is_map_of_waves)
