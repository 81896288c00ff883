"""Whether a process of a trial died of itself or with its machine, and what a trial bears of each.

A process that is killed with its machine is missed at once, the machine only when it has not
answered the cluster's head for a while. Until then a death counts for neither: the trial begins
again if it may whatever comes out, and waits for it otherwise. Pure but for ``living_nodes`` and
``this_node``. Not here: who begins it again (``tune_adapters``, ``worker_group``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final, Literal

__all__ = ["MAX_WITH_MACHINE", "OPEN_S", "Losses", "LostTrials", "living_nodes", "this_node"]

OPEN_S: Final = 75.0
"""Seconds after a death in which its machine may turn out dead. Ray's own settings give up a
machine that does not answer after at most 65 s (five time-outs of 10 s, and 3 s between), those of
``spectrum cluster up`` after 52 s."""

MAX_WITH_MACHINE: Final = 10
"""Times that a trial begins again after its machine died. Machines go for reasons of their own,
but a trial that eats the memory of each would bring down one after the other."""

LOOK_S: Final = 1.0
"""Seconds between two looks at the machines."""

NODE_DIED: Final = "node has died"
"""How Ray says that a process died with its machine, where it knows."""

Next = Literal["again", "wait", "fail"]


def living_nodes() -> frozenset[str]:
    """Return the machines of the cluster that live, as far as its head knows."""
    import ray

    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"])


def this_node() -> str:
    """Return the machine that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


class Losses:
    """The deaths of one trial's processes.

    Parameters
    ----------
    max_own : times that the trial begins again after a death that no machine explains
    living : tells the machines that live
    here : the machine of who asks, which lives as long as it is asked
    clock : seconds, monotonic
    """

    def __init__(
        self,
        max_own: int,
        *,
        living: Callable[[], frozenset[str]] = living_nodes,
        here: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_own, self._living, self._here, self._clock = max_own, living, here, clock
        self._stands_on: frozenset[str] = frozenset()
        self._open: list[tuple[frozenset[str], float]] = []
        self.num_own = self.num_with_machine = 0
        self.begin()

    def begin(self, nodes: Collection[str] = ()) -> None:
        """Note where the trial stands now.

        Parameters
        ----------
        nodes : its machines; none where they are not known, and may be any that lives
        """
        self._stands_on = (frozenset(nodes) or self._living()) - {self._here}

    def add(self, text: str = "") -> None:
        """Note a death.

        Parameters
        ----------
        text : what Ray says of it
        """
        if NODE_DIED in text:
            self.num_with_machine += 1
        else:
            self._open.append((self._stands_on, self._clock() + OPEN_S))

    @property
    def next(self) -> Next:
        """What becomes of the trial, as far as is known now."""
        self._settle()
        num_open = len(self._open)
        if self.num_own > self._max_own or self.num_with_machine > MAX_WITH_MACHINE:
            return "fail"
        may_begin = (
            self.num_own + num_open <= self._max_own
            and self.num_with_machine + num_open <= MAX_WITH_MACHINE
        )
        return "again" if may_begin else "wait"

    def __str__(self) -> str:
        """Both counts beside what is borne, for an error."""
        return (
            f"Its processes died {_times(self.num_own)} of themselves "
            f"({self._max_own} made good) and {_times(self.num_with_machine)} with their machine "
            f"({MAX_WITH_MACHINE} made good)."
        )

    def _settle(self) -> None:
        living = self._living() if self._open else frozenset()
        still_open = []
        for nodes, until in self._open:
            if nodes - living:
                self.num_with_machine += 1
            elif not nodes or self._clock() >= until:
                self.num_own += 1
            else:
                still_open.append((nodes, until))
        self._open = still_open


class LostTrials:
    """The trials of a study whose process died: each begins again, waits or fails.

    Parameters
    ----------
    count_losses : begins to count the losses of a trial
    clock : seconds, monotonic
    """

    def __init__(
        self, count_losses: Callable[[], Losses], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count_losses, self._clock = count_losses, clock
        self._losses: dict[int, Losses] = {}
        self._waiting: list[int] = []
        self._ready: list[int] = []
        self._looked = -LOOK_S

    def begin(self, number: int, nodes: Collection[str] = ()) -> None:
        """Note that a trial runs, and on which machines where that is known."""
        self._of(number).begin(nodes)

    def add(self, number: int, text: str) -> None:
        """Note that the process of a trial died, and what Ray says of it."""
        self._of(number).add(text)
        self._waiting.append(number)
        self._looked = -LOOK_S

    def settle(self) -> list[tuple[int, str]]:
        """Look at the machines; return trials that fail, and the counts of their deaths."""
        if not self._waiting or self._clock() - self._looked < LOOK_S:
            return []
        self._looked = self._clock()
        verdicts = {number: self._losses[number].next for number in self._waiting}
        self._ready += [number for number, then in verdicts.items() if then == "again"]
        self._waiting = [number for number, then in verdicts.items() if then == "wait"]
        failed = (number for number, then in verdicts.items() if then == "fail")
        return [(number, str(self._losses[number])) for number in failed]

    def end(self, number: int) -> None:
        """Forget a trial that ended."""
        self._losses.pop(number, None)

    def next_ready(self) -> int | None:
        """Return a trial that begins again now, once; None where there is none."""
        return self._ready.pop(0) if self._ready else None

    def _of(self, number: int) -> Losses:
        if number not in self._losses:
            self._losses[number] = self._count_losses()
        return self._losses[number]


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
