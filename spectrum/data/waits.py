"""Waiting for room in a cluster that others use too: it is said, where Ray is silent.

Said is how much is needed and how much is free, after some seconds and again now and then. Not
here: machines that are yet to come (``search.machines``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Room", "WaitTeller", "room_of_cluster", "waits_told"]

logger = logging.getLogger("spectrum.data")

FIRST_S: Final = 5.0
"""Seconds for which nothing has a place before that is said; in an idle cluster it takes one."""

AGAIN_S: Final = 60.0
"""Seconds until it is said again."""

LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """CPUs and GPUs of a cluster.

    ``is_short`` is whether something was asked for that has no place.
    """

    cpus: float
    free_cpus: float
    gpus: float
    free_gpus: float
    is_short: bool

    def has(self, cpus: float, gpus: float) -> bool:
        """Tell whether so much is free, on whichever machines."""
        return self.free_cpus >= cpus and self.free_gpus >= gpus


def room_of_cluster() -> Room:
    """Return what the cluster has that this process is connected to."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    state = get_cluster_resource_state(GcsClient(ray.get_runtime_context().gcs_address))

    def sum_of(kind: str, name: str) -> float:
        return float(sum(getattr(node, kind).get(name, 0.0) for node in state.node_states))

    return Room(
        cpus=sum_of("total_resources", "CPU"),
        free_cpus=sum_of("available_resources", "CPU"),
        gpus=sum_of("total_resources", "GPU"),
        free_gpus=sum_of("available_resources", "GPU"),
        is_short=bool(state.pending_resource_requests or state.pending_gang_resource_requests),
    )


class WaitTeller:
    """Says that nothing runs for want of room, be it at first or later.

    Parameters
    ----------
    bundles : resources that the least of what is asked for needs, all of them together
    first_s : seconds until that is said
    room : returns what there is
    tell : takes a sentence
    clock : seconds, monotonic
    """

    def __init__(
        self,
        bundles: Iterable[Mapping[str, float]],
        *,
        first_s: float = FIRST_S,
        room: Callable[[], Room] = room_of_cluster,
        tell: Callable[[str], Any] = logger.warning,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        asked = tuple(bundles)
        self._cpus = sum(bundle.get("CPU", 0.0) for bundle in asked)
        self._gpus = sum(bundle.get("GPU", 0.0) for bundle in asked)
        self._first_s = first_s
        self._room, self._tell, self._clock = room, tell, clock
        self._since: float | None = None
        self._next = 0.0

    def look(self, *, is_waiting: bool) -> None:
        """Take whether something was asked for and nothing runs; say so if it is time."""
        now = self._clock()
        if not is_waiting:
            self._since = None
        elif self._since is None:
            self._since, self._next = now, now + self._first_s
        elif now >= self._next:
            room = self._room()
            if room.is_short and not room.has(self._cpus, self._gpus):
                self._tell(self._text(room, seconds=now - self._since))
                self._next = now + AGAIN_S

    def _text(self, room: Room, *, seconds: float) -> str:
        gpus = f" and {self._gpus:g} GPUs" if self._gpus else ""
        return (
            f"Nothing has run for {seconds:.0f} s: it needs {self._cpus:g} CPUs{gpus}, and of "
            f"the cluster's {room.cpus:g} CPUs {room.free_cpus:g} are free, of its {room.gpus:g} "
            f"GPUs {room.free_gpus:g}. Another search, job or notebook on it may hold the others "
            "(spectrum jobs list, ray status); it goes on when they are given back."
        )


@contextmanager
def waits_told(teller: WaitTeller, is_waiting: Callable[[], bool]) -> Iterator[None]:
    """Look now and then, in a thread, whether a ``with`` block waits for room."""
    is_over = threading.Event()

    def watch() -> None:
        from ray.exceptions import RayError

        while not is_over.wait(LOOK_S):
            # A head that does not answer is told of elsewhere (launch.heads).
            with suppress(RayError):
                teller.look(is_waiting=is_waiting())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join(LOOK_S)
