"""The end of a process whose Ray lost its head, in words, before Ray ends it without any.

Nothing can be asked of Ray while its head (the GCS) is gone: calls wait, and after a minute Ray
ends the process with a line of its own log. A look of ours needs no Ray. Not here: nodes that are
lost while the head lives (``search.losses``).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from spectrum.search.signals import leave

__all__ = ["address_of_head", "head_watched", "patience_s", "watch"]

RECONNECT: Final = "RAY_gcs_rpc_server_reconnect_timeout_s"
RECONNECT_S: Final = 60.0
"""Seconds after which Ray ends processes without a head, unless the environment says otherwise."""

SHARE: Final = 2 / 3
"""Of those seconds, for a head to come back; one with its state in Redis does, on Kubernetes."""

LOOK_S: Final = 2.0
TO_ANSWER_S: Final = 5.0


def address_of_head() -> str:
    """Return ``HOST:PORT`` of the head that this process is connected to."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


@contextmanager
def head_watched(advice: str) -> Iterator[None]:
    """End this process, and those it started, where its Ray loses the head in a ``with`` block.

    Parameters
    ----------
    advice : what to do then
    """
    address, is_over = address_of_head(), threading.Event()

    def end(seconds: float) -> None:
        leave(f"spectrum: {_lost(address, seconds)} {advice}".rstrip(), 1)

    watcher = threading.Thread(target=watch, args=(address, is_over, end), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()


def watch(
    address: str,
    is_over: threading.Event,
    on_lost: Callable[[float], None],
    *,
    look_s: float = LOOK_S,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Look at a head until all is over, or until it did not answer for too long.

    Parameters
    ----------
    on_lost : told the seconds for which it did not answer
    look_s : seconds between two looks
    """
    patience, missed_since = patience_s(), None
    while not is_over.wait(look_s):
        if _answers(address):
            missed_since = None
            continue
        missed_since = clock() if missed_since is None else missed_since
        if clock() - missed_since >= patience:
            return on_lost(clock() - missed_since)


def patience_s() -> float:
    """Return the seconds for which a head may not answer, fewer than Ray waits for it."""
    try:
        return SHARE * float(os.environ.get(RECONNECT, RECONNECT_S))
    except ValueError:
        return SHARE * RECONNECT_S


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TO_ANSWER_S):
            return True
    except OSError:
        return False


def _lost(address: str, seconds: float) -> str:
    return (
        f"The head of the Ray at {address} has not answered for {seconds:.0f} s: it was killed, "
        "or its machine is gone, and what was under way is lost."
    )
