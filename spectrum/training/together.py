"""Whether all workers begin alike: one that cannot, or is elsewhere, lets all stop together.

Workers meet in sums over all of them, and one that does not come lets the others wait until they
are timed out. So what a worker does alone before a fit (open files, read a state) is told to all
before the first step. Not here: errors after the first step (``workers``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import torch

from spectrum.errors import CheckpointError, SpectrumError, TrainingError
from spectrum.training.place import Place

__all__ = ["all_begin", "check_same_epoch"]

MAX_BYTES: Final = 1000
"""Of a worker's error, UTF-8, that the others are told."""

R = TypeVar("R")


def all_begin(place: Place, what: str, begin: Callable[[], R]) -> R:
    """Return what ``begin`` returns, once it has returned for every worker.

    Parameters
    ----------
    what : is begun, for the error
    begin : what this worker does; calls no other worker

    Raises
    ------
    SpectrumError
        Its own, of the worker whose ``begin`` raised one.
    TrainingError
        On the others, with the error of the first of those.
    """
    if place.num_workers == 1:
        return begin()
    try:
        begun = begin()
    except SpectrumError as err:
        _tell(place, str(err) or type(err).__name__)
        raise
    failures = {rank: text for rank, text in enumerate(_tell(place, "")) if text}
    if failures:
        ranks = ", ".join(map(str, failures))
        first = next(iter(failures.values()))
        raise TrainingError(
            f"{what} could not begin on worker {ranks} of {place.num_workers}: {first}"
        )
    return begun


def check_same_epoch(place: Place, what: str, epoch: int) -> None:
    """Raise CheckpointError on every worker where they are not all at the same epoch.

    Parameters
    ----------
    what : goes on from an epoch, for the error
    epoch : epochs done, of this worker's state
    """
    if place.num_workers == 1:
        return
    epochs = torch.zeros(place.num_workers, dtype=torch.int64, device=place.device)
    epochs[place.parallel.rank] = epoch
    found = place.sum(epochs).tolist()
    if len(set(found)) > 1:
        told = ", ".join(f"worker {rank} epoch {epoch}" for rank, epoch in enumerate(found))
        raise CheckpointError(
            f"{what}: workers read states of different epochs ({told}). They must go on from the "
            "same one: see that all nodes read the same folder and begin again, or remove the "
            "fold's states to fit it from its beginning."
        )


def _tell(place: Place, text: str) -> list[str]:
    """Tell all workers a text; return those of all, by rank."""
    told = text.encode()[:MAX_BYTES]
    texts = torch.zeros((place.num_workers, MAX_BYTES), dtype=torch.uint8, device=place.device)
    texts[place.parallel.rank, : len(told)] = torch.tensor([*told], dtype=torch.uint8)
    rows = place.sum(texts).cpu().numpy()
    return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in rows]
