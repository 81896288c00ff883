"""Which sequences make which batch: passes, order and step count of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["draw_epoch", "iter_batches", "num_steps"]


def num_steps(num_sequences: int, *, batch_size: int, min_steps: int) -> int:
    """Return the optimiser steps of an epoch: whole passes, at least ``min_steps`` steps."""
    return math.ceil(
        num_sequences * _num_passes(num_sequences, batch_size, min_steps) / batch_size
    )


def draw_epoch(
    sequences: Tensor, *, batch_size: int, min_steps: int, generator: torch.Generator
) -> Tensor:
    """Return the sequences of one epoch in random order, pass after pass.

    Parameters
    ----------
    sequences : (N,), indices
    batch_size : sequences
    min_steps : steps
        A set too small for so many steps is passed over several times; each pass is a permutation.
    generator : CPU generator
    """
    passes = _num_passes(len(sequences), batch_size, min_steps)
    orders = [torch.randperm(len(sequences), generator=generator) for _ in range(passes)]
    return sequences[torch.cat(orders)]


def iter_batches(count: int, batch_size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most ``batch_size`` that cover ``count`` things once."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def _num_passes(num_sequences: int, batch_size: int, min_steps: int) -> int:
    return (min_steps - 1) * batch_size // num_sequences + 1
