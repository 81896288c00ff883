"""Connection of a process to a Ray: how it is made, and how loudly Ray speaks."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spectrum.errors import LaunchError

__all__ = ["connect"]

logger = logging.getLogger("spectrum.launch")


def connect(**arguments: Any) -> None:
    """Call ``ray.init``, with our own handler of SIGTERM kept.

    Raises
    ------
    LaunchError
        Ray runs in this process already. Whatever Ray raises is left to the caller.
    """
    import ray

    if ray.is_initialized():
        raise LaunchError(
            "Ray runs in this process already. Shut it down, or call inside its block."
        )
    with _sigterm_kept():
        ray.init(
            logging_level=_ray_level(),
            log_to_driver=logger.isEnabledFor(logging.DEBUG),
            **arguments,
        )


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep our own handler of SIGTERM, if there is one, while Ray starts and sets its own.

    Ray's leaves with an exit code of its own and says nothing; it raises SystemExit when the
    signal comes while Ray starts.
    """
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if callable(ours):
            ours(signal.SIGTERM, None)
        raise
    finally:
        if callable(ours) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


def _ray_level() -> int:
    """Return the level from which Ray speaks: errors alone, unless more was asked for."""
    level = logger.getEffectiveLevel()
    return level if level < logging.WARNING else logging.ERROR
