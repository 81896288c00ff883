"""Whose turn it is, where trials of several sizes share a cluster.

Tune hands the place of a trial that ended to the next one of its size. A larger or smaller trial
that waits would wait as long as proposals of that size go on: a trial that lost its machine once
waited 261 s for seven others. So nothing new is handed out while another size has waited for long;
places that become free then stay so until the waiting trial fits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Turns"]

PATIENCE_S: Final = 20.0
"""Seconds that a trial waits before others let it go first. The process of one that has its place
takes about 10 to begin, and longer where torch is read over a network."""

WITHOUT_ANY_S: Final = 300.0
"""Seconds in which no trial runs and the waiting one finds no place, after which there is none for
its size, and others go on."""


class Turns:
    """Trials that were handed out, and those of them that run.

    Parameters
    ----------
    are_mixed : whether trials have several sizes; else none ever waits for another
    clock : seconds, monotonic
    """

    def __init__(self, *, are_mixed: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._are_mixed, self._clock = are_mixed, clock
        self._waiting: dict[int, tuple[int, float]] = {}
        self._running: set[int] = set()
        self._placeless: set[int] = set()
        self._last_end = clock()

    def hand_out(self, number: int, size: int) -> None:
        """Note that a trial of some workers may begin as soon as it has a place."""
        self._waiting[number] = (size, self._clock())

    def begin(self, number: int) -> None:
        """Note that a trial has its place."""
        self._running.add(number)
        if number in self._waiting:
            size, _ = self._waiting.pop(number)
            self._placeless.discard(size)

    def end(self, number: int) -> None:
        """Note that a trial runs no more, whether or not it ever did."""
        self._waiting.pop(number, None)
        if number in self._running:
            self._running.remove(number)
            self._last_end = self._clock()

    @property
    def is_stuck(self) -> bool:
        """Whether trials wait for a place, and none has one."""
        return bool(self._waiting) and not self._running

    def are_held(self) -> bool:
        """Return whether no new trial is to be handed out now."""
        now = self._clock()
        impatient = [
            (size, since)
            for size, since in self._waiting.values()
            if now - since > PATIENCE_S and size not in self._placeless
        ]
        if not (self._are_mixed and impatient):
            return False
        idle_since = max(self._last_end, min(since for _, since in impatient))
        if self._running or now - idle_since < WITHOUT_ANY_S:
            return True
        self._placeless |= {size for size, _ in impatient}
        return False
