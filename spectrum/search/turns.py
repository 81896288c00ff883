"""Whose turn it is, where trials of several sizes share a cluster.

Tune hands the place of a trial that ended to the next one of its size. A larger or smaller trial
that waits would wait as long as proposals of that size go on: a trial that lost its machine once
waited 261 s for seven others. So none is handed out while another has waited for long; then the
place is given back, and the waiting trial gets it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

__all__ = ["Turns"]

PATIENCE_S: Final = 20.0
"""Seconds that a trial waits before others let it go first; a process takes about 10 to begin."""

AT_MOST_S: Final = 600.0
"""Seconds after which others go on all the same: there may be no machine for it any more."""


class Turns:
    """Trials that were handed out and have not begun.

    Parameters
    ----------
    are_mixed : whether trials have several sizes; else none ever waits for another
    clock : seconds, monotonic
    """

    def __init__(self, *, are_mixed: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._are_mixed, self._clock = are_mixed, clock
        self._since: dict[int, float] = {}

    def hand_out(self, number: int) -> None:
        """Note that a trial may begin as soon as it has a place."""
        self._since[number] = self._clock()

    def begin(self, number: int) -> None:
        """Note that a trial has a place, or ended without one."""
        self._since.pop(number, None)

    @property
    def is_held(self) -> bool:
        """Whether no other trial is to be handed out now."""
        now = self._clock()
        waited = (now - since for since in self._since.values())
        return self._are_mixed and any(PATIENCE_S < seconds < AT_MOST_S for seconds in waited)
