"""Volumes shared out over threads. Not here: what is done with one volume.

scipy.ndimage releases the interpreter's lock, so threads help. Each volume's result depends on
nothing but the volume, so their number never changes a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

Given = TypeVar("Given")
Found = TypeVar("Found")


def in_threads(
    call: Callable[[Given], Found], givens: Iterable[Given], num_threads: int
) -> list[Found]:
    """Return ``call`` of each, in their order."""
    if num_threads <= 1:
        return [call(given) for given in givens]
    with ThreadPoolExecutor(num_threads) as pool:
        return list(pool.map(call, givens))
