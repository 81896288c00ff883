"""Which address a cluster is joined at: that of its head, told from the other ones by its form.

Not here: who answers there (``joining``), and the dashboard's address (``jobs``).
"""

from __future__ import annotations

from typing import Final

from spectrum.errors import ConfigError

__all__ = ["AUTO", "check_head_address"]

AUTO: Final = "auto"

HEAD_PORT: Final = 6379
"""Port of a head's GCS, unless it was started with another ``--port``."""

LAST_PORT: Final = 65535


def check_head_address(address: str, *, said_by: str = "--address") -> None:
    """Refuse an address at which no head can be, before anyone is asked.

    Parameters
    ----------
    said_by : option or variable that has it

    Raises
    ------
    ConfigError
        It is that of a dashboard or of Ray Client, or no ``HOST:PORT``.
    """
    scheme, has_scheme, rest = address.rpartition("://")
    place = rest.partition("/")[0]
    host, colon, port = place.rpartition(":")
    if has_scheme:
        raise ConfigError(_of_another_door(address, scheme, host if colon else place, said_by))
    if not colon or not host:
        named = host if colon else place
        raise ConfigError(
            f"{said_by} {address} names no host and port. Give HOST:PORT of the cluster's head, "
            f"{named or 'HOST'}:{HEAD_PORT} unless it was started with another --port, or auto."
        )
    if not (port.isdecimal() and 0 < int(port) <= LAST_PORT):
        raise ConfigError(
            f"{said_by} {address} ends in {port or 'nothing'}, which is no port. Give HOST:PORT "
            f"of the cluster's head, {host}:{HEAD_PORT} unless it was started with another --port."
        )


def _of_another_door(address: str, scheme: str, host: str, said_by: str) -> str:
    host = host or "HOST"
    head = f"{host}:{HEAD_PORT}"
    if scheme in ("http", "https"):
        return (
            f"{said_by} {address} is the address of a dashboard, where a search is sent, not "
            f"joined. Give {head} on a machine of the cluster, or send the search there with "
            f"spectrum submit ... --address {address}."
        )
    whose = "of Ray Client, which is not used here" if scheme == "ray" else "no HOST:PORT"
    return (
        f"{said_by} {address} is {whose}. Give {head} of the cluster's head on one of its "
        f"machines, or send the search with spectrum submit ... --address http://{host}:8265."
    )
