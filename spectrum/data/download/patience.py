"""How often and how long something is tried again: exponential back-off with full jitter.

The wait before try ``n`` is uniform in ``[0, min(longest, first * 2 ** (n - 1))]`` (M. Brooker,
"Exponential backoff and jitter", AWS Architecture Blog, 2015): callers that failed together do
not come back together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spectrum.data.download.config import FetchConfig
from spectrum.data.download.faults import StoppedError, TransferError
from spectrum.data.download.meter import Meter
from spectrum.data.download.world import World

__all__ = ["Patience", "longest_wait_s"]

T = TypeVar("T")


def longest_wait_s(num_failed: int, *, first_s: float, longest_s: float) -> float:
    """Return the upper end of the wait after so many failures in a row.

    Parameters
    ----------
    num_failed : count, >= 1
    first_s, longest_s : seconds, >= 0
    """
    return min(longest_s, first_s * 2.0 ** min(num_failed - 1, 60))


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits between tries, and gives up after ``max_attempts`` of them.

    Parameters
    ----------
    config : bounds of tries and waits
    world : clock, sleep and chance
    meter : counts the tries
    give_up_s : seconds since the first try after which there is none again
    """

    config: FetchConfig
    world: World
    meter: Meter
    give_up_s: float = math.inf

    def bear(self, fault: TransferError, num_failed: int) -> None:
        """Wait before the next try; raise the fault where it was one too many."""
        if self.world.stopped.is_set():
            raise StoppedError("stopped", code="stopped", path=fault.path) from fault
        if num_failed >= self.config.max_attempts:
            raise type(fault)(
                f"{fault.message} Tried {num_failed} times.", code=fault.code, path=fault.path
            ) from fault
        self.meter.count_retry()
        bound = longest_wait_s(
            num_failed, first_s=self.config.backoff_s, longest_s=self.config.max_backoff_s
        )
        self.world.wait(float(self.world.rng.uniform(0.0, bound)))

    def try_again(self, action: Callable[[], T]) -> T:
        """Return what ``action`` returns, trying again after passing faults."""
        num_failed, begun_s = 0, self.world.clock()
        while True:
            try:
                return action()
            except TransferError as fault:
                num_failed += 1
                if self.world.clock() - begun_s > self.give_up_s:
                    raise
                self.bear(fault, num_failed)
