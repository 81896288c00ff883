"""Where Ray is started, joined and guarded.

Clusters that we start take part only with a token of our own, which no other user of the machine
can read, and bind to loopback. Not here: what runs on Ray.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spectrum.errors import LaunchError

__all__ = ["available_cpus", "local_ray", "refuse_unsafe_switches"]

logger = logging.getLogger(__name__)

TOKEN_BYTES: Final = 32
GIB: Final = 2**30

PICKLE_SWITCHES: Final = (
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
)
"""Switches by which Ray Data would run code from a Parquet file (CVE-2026-41486 and kin)."""


def available_cpus() -> int:
    """Return the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def refuse_unsafe_switches(environment: dict[str, str] | None = None) -> None:
    """Raise LaunchError where the environment lets Parquet files run code."""
    environment = dict(os.environ) if environment is None else environment
    for switch in PICKLE_SWITCHES:
        if environment.get(switch, "0") not in ("", "0", "false", "False"):
            raise LaunchError(
                f"{switch}={environment[switch]} lets a Parquet file run code when it is read. "
                f"Unset {switch} and start again."
            )


@contextmanager
def local_ray(
    *,
    num_cpus: int | None = None,
    object_store_gib: float | None = None,
    dashboard: bool = False,
    state_folder: Path | None = None,
) -> Iterator[None]:
    """Start Ray on this machine for the length of a ``with`` block.

    Parameters
    ----------
    num_cpus : CPUs that Ray may give out, >= 1; None takes all that this process may use
    object_store_gib : GiB of shared memory; None leaves Ray's own share of the machine
    dashboard : whether the State API runs (loopback, token)
    state_folder : folder of the token; None is ``~/.spectrum``

    Raises
    ------
    LaunchError
        Where Ray does not start, or runs already in this process.
    """
    refuse_unsafe_switches()
    require_token(state_folder or Path.home() / ".spectrum")
    import ray

    if ray.is_initialized():
        raise LaunchError(
            "Ray runs in this process already. Shut it down, or call inside its block."
        )
    try:
        with _sigterm_kept():
            ray.init(
                address="local",
                num_cpus=num_cpus or available_cpus(),
                object_store_memory=int(object_store_gib * GIB) if object_store_gib else None,
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                logging_level=_ray_level(),
                log_to_driver=logger.isEnabledFor(logging.DEBUG),
            )
    except Exception as err:
        # Ray raises a bare Exception where a node is slow to start, and OSError for a long path.
        raise LaunchError(_start_failed(err)) from err
    logger.info("Ray runs here with %s CPUs.", num_cpus or available_cpus())
    try:
        yield
    finally:
        ray.shutdown()


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


def _start_failed(err: Exception) -> str:
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray"
    if "AF_UNIX" in str(err):
        return (
            f"Ray did not start: its sockets under {folder} would have longer paths than the "
            "system takes. Set RAY_TMPDIR to a folder with a short path."
        )
    return (
        f"Ray did not start: {str(err).strip()}. A busy machine may need a second attempt; the "
        f"logs are in {folder}."
    )


def require_token(folder: Path) -> None:
    """Make Ray's processes demand a token that only this user can read."""
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN" in os.environ:
        return
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", folder / "ray_token"))
    if not token.exists():
        _write_token(token)
    if token.stat().st_mode & 0o077:
        raise LaunchError(
            f"{token} can be read by other users (mode {token.stat().st_mode & 0o777:o}). "
            f"Run: chmod 600 {token}"
        )
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)


def _write_token(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(TOKEN_BYTES))
