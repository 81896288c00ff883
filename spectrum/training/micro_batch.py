"""Into how many parts a batch is divided so that it fits the device, measured before the fit.

Two small parts are computed once each, and their peak memory tells what a larger part would take:
memory grows by the same amount with each sequence. No real step is ever tried to see whether it
breaks. Loss and gradient are those of the whole batch but for rounding, whatever it is divided
into; dropout is drawn part by part and is another one with other parts, so that a fold keeps the
number that it began with, across stops too. Not here: how a part is computed (``step``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch

from spectrum.training.step import Stepper

__all__ = ["num_parts_that_fit", "probed_num_parts"]

PROBED: Final = (1, 3)
"""Sequences in the two parts that are measured."""

SHARE_OF_MEMORY: Final = 0.8
"""Share of the free memory of a device that parts may take; the rest is for fragments."""


def num_parts_that_fit(
    bytes_of_part: Callable[[int], int], *, num_sequences: int, free_bytes: int
) -> int:
    """Return the smallest number of parts, each of which fits.

    Parameters
    ----------
    bytes_of_part : peak memory of a part of so many sequences; called twice
    num_sequences : in a worker's part of the batch, >= 1
    free_bytes : what a part may take

    Returns
    -------
    num_parts : >= 1
        ``num_sequences`` where not even two sequences would fit.
    """
    few, more = PROBED
    if num_sequences <= more:
        return 1
    small, large = bytes_of_part(few), bytes_of_part(more)
    per_sequence = max(1.0, (large - small) / (more - few))
    most = few + math.floor((free_bytes - small) / per_sequence)
    return math.ceil(num_sequences / min(max(1, most), num_sequences))


def probed_num_parts(stepper: Stepper, *, num_sequences: int) -> int:
    """Return how many parts a worker's part of a batch is computed in on this device.

    A CPU computes it whole. The caller puts random numbers back.
    """
    device = stepper.place.device
    if device.type != "cuda":
        return 1

    # What the first part ever loads and keeps (kernels, workspaces of cuBLAS) is no part's own.
    stepper.rehearse(min(PROBED))

    def bytes_of_part(count: int) -> int:
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        stepper.rehearse(count)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before

    return num_parts_that_fit(
        bytes_of_part,
        num_sequences=num_sequences,
        free_bytes=int(SHARE_OF_MEMORY * _free_bytes(device)),
    )


def _free_bytes(device: torch.device) -> int:
    """Return what nobody has of a GPU's memory, and what torch keeps here for later."""
    free_bytes, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free_bytes) + kept
