"""Ray on this machine alone, for the length of a command. Not here: clusters."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from spectrum.errors import LaunchError
from spectrum.launch.guards import (
    listening_on_loopback,
    refuse_unsafe_switches,
    require_token,
)
from spectrum.launch.guards import state_folder as own_folder
from spectrum.launch.heads import head_watched
from spectrum.launch.session import connect

__all__ = ["available_cpus", "local_ray"]

logger = logging.getLogger("spectrum.launch")

GIB: Final = 2**30

TOO_SLOW: Final = "timed out during startup"
"""What Ray 2 says of a node that is not ready within 30 s (``ray._private.node.Node``)."""

TO_END_S: Final = 5.0

AFTER_LOSS: Final = "Look for want of memory, or for a kill from outside, and start again."


def available_cpus() -> int:
    """Return the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def local_ray(
    *,
    num_cpus: int | None = None,
    object_store_gib: float | None = None,
    dashboard: bool = False,
    state_folder: Path | None = None,
    kept: str = "",
) -> Iterator[None]:
    """Start Ray on this machine for the length of a ``with`` block.

    Where it loses its head, this process ends with a sentence.

    Parameters
    ----------
    num_cpus : CPUs that Ray may give out, >= 1; None takes all that this process may use
    object_store_gib : GiB of shared memory; None leaves Ray's own share of the machine
    dashboard : whether the State API runs (loopback, token)
    state_folder : folder of the token; None is ``~/.spectrum``
    kept : a sentence for when the head is lost: what is kept, and how to go on

    Raises
    ------
    LaunchError
        Where Ray does not start, or runs already in this process.
    """
    refuse_unsafe_switches()
    require_token(state_folder or own_folder())
    with listening_on_loopback():
        _start(num_cpus or available_cpus(), object_store_gib, dashboard=dashboard)
        logger.info("Ray runs here with %s CPUs.", num_cpus or available_cpus())
        try:
            with head_watched(f"{AFTER_LOSS} {kept}"):
                yield
        finally:
            import ray

            ray.shutdown()


def _start(num_cpus: int, object_store_gib: float | None, *, dashboard: bool) -> None:
    def attempt() -> None:
        connect(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=int(object_store_gib * GIB) if object_store_gib else None,
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
        )

    try:
        begin_twice(attempt)
    except LaunchError:
        raise
    except Exception as err:
        # Ray raises a bare Exception where a node is slow to start, and OSError for a long path.
        raise LaunchError(_start_failed(err)) from err


def begin_twice(attempt: Callable[[], None]) -> None:
    """Start Ray, once more where it was too slow, and leave no process of a failed start.

    Ray gives a node half a minute, which a busy machine can miss, and keeps what it has started
    until this process ends.
    """
    others = set(psutil.Process().children())
    for is_last in (False, True):
        try:
            return attempt()
        except Exception as err:
            _end_children(besides=others)
            if is_last or TOO_SLOW not in str(err):
                raise
            logger.warning("Ray was not ready in time on this busy machine; once more.")


def _end_children(*, besides: set[psutil.Process]) -> None:
    for child in set(psutil.Process().children()) - besides:
        with suppress(psutil.Error):
            for process in (*child.children(recursive=True), child):
                process.kill()
            child.wait(TO_END_S)


def _start_failed(err: Exception) -> str:
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    if "AF_UNIX" in str(err):
        return (
            f"Ray did not start: its sockets under {folder} would have longer paths than the "
            "system takes. Set RAY_TMPDIR to a folder with a short path."
        )
    told = str(err).strip().rstrip(".")
    return (
        f"Ray did not start: {told}. The logs are in {folder}; try when the machine is less busy."
    )
