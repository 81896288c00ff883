"""The process group in which the workers of one node or several sum tensors.

It outlives trials: workers that fit one configuration after the other meet in it each time. Gloo
carries tensors on the CPU, NCCL those on GPUs. Not here: who the workers are, and what becomes of
one that does not answer (``spectrum.search.worker_group``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

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
    """Open the store at which workers meet, on a free port of this node."""
    host = ray.util.get_node_ip_address()
    store = TCPStore(host, 0, num_workers, is_master=True, timeout=TO_MEET, wait_for_workers=False)
    return store, (host, store.port)


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
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=num_workers, timeout=TO_SUM
    )
