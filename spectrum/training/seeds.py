"""Random numbers that depend on the trial's seed, the fold and the epoch, and on nothing else.

Each use has a seed of its own, so folds that are fitted in turn never disturb each other, and the
caller's own generator is left as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derived_seed", "own_rng"]


def derived_seed(seed: int, *words: str | int) -> int:
    """Return a seed in [0, 2^63) for one named use.

    Examples
    --------
    >>> derived_seed(0, "order", 1) == derived_seed(0, "order", 1)
    True
    >>> derived_seed(0, "order", 1) == derived_seed(0, "order", 2)
    False
    """
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def own_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for a block of code, then put them back."""
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield
