"""What stands before every start and every join: no switch that runs code from data, and a token.

The token is one line in a file that its owner alone can read. Not here: Ray itself.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spectrum.errors import LaunchError

__all__ = [
    "PICKLE_SWITCHES",
    "TOKEN_BYTES",
    "known_token",
    "listening_on_loopback",
    "refuse_unsafe_switches",
    "require_token",
    "state_folder",
    "token_to_send",
]

TOKEN_BYTES: Final = 32

PICKLE_SWITCHES: Final = (
    "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
    "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
    "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
)
"""Switches by which Ray Data would run code from a Parquet file (CVE-2026-41486 and kin)."""

CLUSTER_SWITCH: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where it is off, Ray takes 127.0.0.1 for a node's address, on any system; all its processes then
listen there alone. Left on, they listen on every address of the machine."""


def state_folder() -> Path:
    """Return the folder of tokens and of what runs."""
    return Path.home() / ".spectrum"


def refuse_unsafe_switches(environment: dict[str, str] | None = None) -> None:
    """Raise LaunchError where the environment lets Parquet files run code."""
    environment = dict(os.environ) if environment is None else environment
    for switch in PICKLE_SWITCHES:
        if environment.get(switch, "0") not in ("", "0", "false", "False"):
            raise LaunchError(
                f"{switch}={environment[switch]} lets a Parquet file run code when it is read. "
                f"Unset {switch} and start again."
            )


def require_token(folder: Path) -> None:
    """Make Ray's processes demand a token that only this user can read; it is written if need be.

    Raises
    ------
    LaunchError
        Others can read it.
    """
    _set_mode("token")
    if "RAY_AUTH_TOKEN" in os.environ:
        return
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", folder / "ray_token"))
    if not token.exists():
        _write_token(token)
    _use_token(token)


def known_token(folder: Path) -> str:
    """Send the token of an existing cluster, and return it: the environment's, ours, or Ray's own.

    Raises
    ------
    LaunchError
        There is none, or others can read it.
    """
    _set_mode("token")
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"]
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    places = [Path(given)] if given else [folder / "ray_token", Path.home() / ".ray/auth_token"]
    token = next((path for path in places if path.is_file()), None)
    if token is None:
        raise LaunchError(
            f"There is no token at {' or '.join(map(str, places))}. Copy the cluster's token "
            "there, with chmod 600, or give its file as RAY_AUTH_TOKEN_PATH."
        )
    _use_token(token)
    return token.read_text(encoding="utf-8").strip()


def token_to_send(folder: Path, *, insecure: bool) -> str | None:
    """Send the token of an existing cluster, or none where there is none and the user says so.

    Raises
    ------
    LaunchError
        As ``known_token``, unless ``insecure``.
    """
    try:
        return known_token(folder)
    except LaunchError:
        if not insecure:
            raise
        _set_mode("disabled")
        return None


@contextmanager
def listening_on_loopback() -> Iterator[None]:
    """Have the Ray that is started or joined in this block know its node as 127.0.0.1."""
    earlier = os.environ.get(CLUSTER_SWITCH)
    os.environ[CLUSTER_SWITCH] = "0"
    _tell_imported_ray(has_cluster=False)
    try:
        yield
    finally:
        os.environ.pop(CLUSTER_SWITCH)
        if earlier is not None:
            os.environ[CLUSTER_SWITCH] = earlier
        _tell_imported_ray(has_cluster=earlier != "0")


def _tell_imported_ray(*, has_cluster: bool) -> None:
    """Ray reads the switch when it is imported, which may have been before."""
    constants = sys.modules.get("ray._private.ray_constants")
    if constants is not None:
        constants.ENABLE_RAY_CLUSTER = has_cluster  # type: ignore[attr-defined]


def _set_mode(mode: str) -> None:
    os.environ["RAY_AUTH_MODE"] = mode
    # Ray may have been imported before, and keeps what the environment said then.
    raylet = sys.modules.get("ray._raylet")
    if raylet is not None:
        raylet.Config.initialize("")


def _use_token(token: Path) -> None:
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
