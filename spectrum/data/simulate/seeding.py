"""Same names, same bytes: one generator per name, and sums whose order no thread changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

__all__ = ["generator", "single_threaded_blas"]


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator that belongs to this seed and these names."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep matrix products on one thread: with more, their last bits depend on how many."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield
