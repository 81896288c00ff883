"""Joining a Ray that runs already: its token is sent, and one that demands none is refused.

A cluster that answers without a token runs the code of whoever reaches its ports. Not here: the
cluster that we start ourselves (``cluster``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spectrum.errors import LaunchError
from spectrum.launch.addresses import AUTO, check_head_address
from spectrum.launch.cluster import running_cluster
from spectrum.launch.guards import (
    listening_on_loopback,
    refuse_unsafe_switches,
    token_to_send,
)
from spectrum.launch.guards import state_folder as own_folder
from spectrum.launch.heads import address_of_head, head_watched
from spectrum.launch.local import local_ray
from spectrum.launch.session import connect

__all__ = ["OPENS", "joined_ray", "ray_at"]

logger = logging.getLogger("spectrum.launch")

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

PROBE_S: Final = 10.0
"""Seconds for a cluster to answer whether it demands a token."""

OPENS: Final = (
    "whoever reaches its ports can run code there as its user, and read and change shards, "
    "studies and models"
)

AFTER_LOSS: Final = (
    "Start the cluster again, after spectrum cluster down where spectrum cluster up began it."
)


@contextmanager
def ray_at(
    address: str | None, *, num_cpus: int | None = None, insecure: bool = False, kept: str = ""
) -> Iterator[None]:
    """Join the cluster at an address, or start Ray here where there is none.

    Parameters
    ----------
    address : as in ``joined_ray``, or None
    num_cpus : of a Ray that is started here; None takes all
    insecure : join a cluster that demands no token too
    kept : a sentence for when the head is lost: what is kept, and how to go on
    """
    if address is None:
        with local_ray(num_cpus=num_cpus, kept=kept):
            yield
    else:
        with joined_ray(address, insecure=insecure, kept=kept):
            yield


@contextmanager
def joined_ray(
    address: str, *, insecure: bool = False, state_folder: Path | None = None, kept: str = ""
) -> Iterator[None]:
    """Join a cluster for the length of a ``with`` block, from one of its machines.

    Where the cluster loses its head, this process ends with a sentence.

    Parameters
    ----------
    address : ``HOST:PORT`` of the head, or ``auto``: that of ``RAY_ADDRESS``, of ``spectrum
        cluster up``, or of the Ray that was started on this machine
    insecure : join a cluster that demands no token too
    state_folder : folder of the token; None is ``~/.spectrum``
    kept : as in ``ray_at``

    Raises
    ------
    ConfigError
        No head can be at such an address.
    LaunchError
        There is no such cluster, it demands no token, or it has another one.
    """
    refuse_unsafe_switches()
    folder = state_folder or own_folder()
    address = _found(address, folder)
    token = token_to_send(folder, insecure=insecure)
    if address != AUTO:
        _check_demands(address, token, insecure=insecure)
    with _addressed(address):
        _join(address)
        # Without a head, a shutdown does not come back either.
        with head_watched(f"{AFTER_LOSS} {kept}"):
            try:
                if address == AUTO:
                    _check_demands(address_of_head(), token, insecure=insecure)
                yield
            finally:
                import ray

                ray.shutdown()


def _found(address: str, folder: Path) -> str:
    """Return the address that is meant, of a form that a head's has; auto where none is known."""
    told = os.environ.get("RAY_ADDRESS") if address == AUTO else None
    if address == AUTO and not told:
        own = running_cluster(folder)
        return own.address if own else AUTO
    if (meant := told or address) != AUTO:
        check_head_address(meant, said_by="RAY_ADDRESS" if told else "--address")
    return meant


def _check_demands(address: str, token: str | None, *, insecure: bool) -> None:
    """Refuse a cluster that anyone may use, and one that does not take our token."""
    if _answers(address, None):
        if not insecure:
            raise LaunchError(_open_text(address))
        logger.warning("%s demands no token: %s.", address, OPENS)
    elif token is None or not _answers(address, token):
        taken = "no request without a token" if token is None else "another token"
        raise LaunchError(
            f"The Ray at {address} takes {taken}. Copy the token of its head here, with chmod "
            "600, and name the file as RAY_AUTH_TOKEN_PATH."
        )


@contextmanager
def _addressed(address: str) -> Iterator[None]:
    """Know this node by the address that the cluster knows it by."""
    if address.rpartition(":")[0] in LOOPBACK:
        with listening_on_loopback():
            yield
    else:
        yield


def _join(address: str) -> None:
    try:
        connect(address=address)
    except LaunchError:
        raise
    except Exception as err:
        told = " ".join(str(err).split())[:300]
        raise LaunchError(
            f"No Ray could be joined at {address}: {type(err).__name__}: {told}. Run this on a "
            "machine of the cluster, with the cluster's token, or send it there with spectrum "
            "submit."
        ) from err


def _open_text(address: str) -> str:
    return (
        f"The Ray at {address} answers without a token, so that {OPENS}. Start all its nodes with "
        "RAY_AUTH_MODE=token, or join it as it is with --insecure."
    )


def _answers(address: str, token: str | None) -> bool:
    """Ask the head for its nodes, with a token or as anyone could.

    Raises
    ------
    LaunchError
        Nobody answers.
    """
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    metadata = None if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(address) as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        question = gcs_service_pb2.GetAllNodeInfoRequest()
        try:
            stub.GetAllNodeInfo(question, timeout=PROBE_S, metadata=metadata)
        except grpc.RpcError as err:
            if err.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise LaunchError(
                    f"No Ray answers at {address} in {PROBE_S:g} s. Give HOST:PORT of the head's "
                    "GCS, 6379 unless it was started with another --port; 8265 is its dashboard's."
                ) from err
            return False
    return True
