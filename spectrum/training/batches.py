"""Which sequences make which batch: passes, order and step count of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["draw_epoch", "iter_batches", "num_steps", "order_by_runs"]


def num_steps(num_sequences: int, *, batch_size: int, min_steps: int) -> int:
    """Return the optimiser steps of an epoch: whole passes, at least ``min_steps`` steps."""
    return math.ceil(
        num_sequences * _num_passes(num_sequences, batch_size, min_steps) / batch_size
    )


def draw_epoch(
    sequences: Tensor,
    *,
    batch_size: int,
    min_steps: int,
    generator: torch.Generator,
    run_of_sequence: NDArray[np.int64] | None = None,
    shuffle_runs: int | None = None,
) -> Tensor:
    """Return the sequences of one epoch in random order, pass after pass.

    Parameters
    ----------
    sequences : (N,), indices
    batch_size : sequences
    min_steps : steps
        A set too small for so many steps is passed over several times; each pass is a permutation.
    generator : CPU generator
    run_of_sequence : run of every sequence that an index may name
    shuffle_runs : runs whose sequences are mixed at a time, >= 1; None mixes all
    """
    passes = _num_passes(len(sequences), batch_size, min_steps)
    if shuffle_runs is None or run_of_sequence is None:
        orders = [torch.randperm(len(sequences), generator=generator) for _ in range(passes)]
    else:
        runs = torch.from_numpy(run_of_sequence)[sequences]
        orders = [order_by_runs(runs, shuffle_runs, generator) for _ in range(passes)]
    return sequences[torch.cat(orders)]


def order_by_runs(runs: Tensor, runs_at_a_time: int, generator: torch.Generator) -> Tensor:
    """Return a random permutation that takes the runs in random order, some at a time.

    Parameters
    ----------
    runs : (N,), run of each sequence
    runs_at_a_time : runs whose sequences are mixed with each other, >= 1
    generator : CPU generator

    Returns
    -------
    order : (N,), a permutation
        Sequences of a group of runs stand together, in random order.
    """
    distinct, which = np.unique(runs.numpy(), return_inverse=True)
    group_of_run = torch.randperm(len(distinct), generator=generator) // runs_at_a_time
    mixed = torch.randperm(len(runs), generator=generator)
    return mixed[torch.argsort(group_of_run[torch.from_numpy(which)[mixed]], stable=True)]


def iter_batches(count: int, batch_size: int) -> Iterator[slice]:
    """Yield consecutive slices of at most ``batch_size`` that cover ``count`` things once."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def _num_passes(num_sequences: int, batch_size: int, min_steps: int) -> int:
    return (min_steps - 1) * batch_size // num_sequences + 1
