"""The process group in which the workers of one node or several sum tensors.

It outlives trials: workers that fit one configuration after the other meet in it each time. Gloo
carries tensors on the CPU, NCCL those on GPUs. Not here: who the workers are, and what becomes of
one that does not answer (``spectrum.search.worker_group``).
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Final

import psutil
import ray
import torch
from torch import distributed
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]

__all__ = ["Address", "Store", "join_process_group", "open_store"]

Address = tuple[str, int]
"""Host and port at which the first worker's store listens."""

TO_MEET: Final = timedelta(minutes=5)
"""Time for all workers to join."""

TO_SUM: Final = timedelta(days=1)
"""Time for one sum. Long, as a worker may make shards while others wait; whoever watches the
workers ends those that are lost."""


def open_store(num_workers: int) -> tuple[Store, Address]:
    """Open the store at which workers meet, on a free port of this node's own address."""
    host = ray.util.get_node_ip_address()
    # Left to itself the store listens on every address of the machine.
    with socket.create_server((host, 0)) as listening:
        port = int(listening.getsockname()[1])
        store = TCPStore(
            host,
            port,
            num_workers,
            is_master=True,
            timeout=TO_MEET,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )
    return store, (host, port)


def join_process_group(
    address: Address, *, rank: int, num_workers: int, store: Store | None = None
) -> None:
    """Join the default process group of this process; return when all have joined.

    Parameters
    ----------
    address : that the first worker gave
    store : of the first worker, which opened it; None connects to the address
    """
    store = store or TCPStore(*address, num_workers, is_master=False, timeout=TO_MEET)
    _meet_on(ray.util.get_node_ip_address())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=num_workers, timeout=TO_SUM
    )


def _meet_on(host: str) -> None:
    """Have Gloo and NCCL listen on the interface of this node's address, and on no other.

    What the environment says stays.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
            os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
            return
