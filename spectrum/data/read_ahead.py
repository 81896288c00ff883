"""Work done before it is asked for, in order and so far ahead and no farther.

Plain threads: numpy, Arrow and checksums let go of the interpreter while they work. Not here: what
is read and when (``sequences``, ``training.run_feed``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["iter_ahead"]

T = TypeVar("T")
R = TypeVar("R")


def iter_ahead(
    work: Callable[[T], R], things: Iterable[T], *, depth: int, num_threads: int = 1
) -> Iterator[R]:
    """Yield ``work(thing)`` for each thing in order, begun ahead of the one that asks.

    Parameters
    ----------
    depth : >= 1
        Results that are there or in work before they are asked for, at most.
    num_threads : >= 1
        One does the work in order, too.
    """
    with ThreadPoolExecutor(num_threads, thread_name_prefix="read-ahead") as pool:
        ahead: deque[Future[R]] = deque()
        try:
            for thing in things:
                ahead.append(pool.submit(work, thing))
                if len(ahead) >= depth:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
