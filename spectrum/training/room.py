"""How much memory there is for volumes: on the GPU, in this process, in the node's object store.

Not here: what is made of it (``feeding``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import torch

__all__ = ["Room", "measure_room"]

MEMORY_SHARE: Final = 0.5
"""Share of free memory that volumes may take; the rest is for models, batches and others."""

CGROUP: Final = Path("/sys/fs/cgroup")
"""Where Linux tells a container its limit (cgroup v2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that one process may give to volumes.

    ``device_bytes`` is None without a GPU, ``store_bytes`` None where no Ray runs that would hold
    a copy for several processes; ``has_neighbours`` tells whether there are several.
    """

    device_bytes: int | None
    memory_bytes: int
    store_bytes: int | None
    has_neighbours: bool


def measure_room(device: torch.device, *, has_neighbours: bool) -> Room:
    """Measure the room on this node, with the processes of a study beside this one or none."""
    import ray

    is_on_ray = ray.is_initialized()
    num_processes = _cpus_of_node() if is_on_ray and has_neighbours else 1
    return Room(
        device_bytes=_device_bytes(device) if device.type == "cuda" else None,
        memory_bytes=int(MEMORY_SHARE * free_memory_bytes() / num_processes),
        store_bytes=_store_bytes() if is_on_ray else None,
        has_neighbours=has_neighbours,
    )


def free_memory_bytes(cgroup: Path = CGROUP) -> int:
    """Return the bytes of memory that are free here; a container's limit counts."""
    free = psutil.virtual_memory().available
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return max(0, min(free, limit - used))


def _device_bytes(device: torch.device) -> int:
    """Return this process's share of a GPU: of a part where Ray gave it a part, and of free."""
    import ray

    free, total = torch.cuda.mem_get_info(device)
    assigned = 1.0
    if ray.is_initialized():
        assigned = ray.get_runtime_context().get_assigned_resources().get("GPU", 1.0)
    return int(MEMORY_SHARE * min(free, total * min(1.0, assigned)))


def _cpus_of_node() -> int:
    """Return the trials that may be on this node at a time, one CPU each."""
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    cpus = next(node["Resources"].get("CPU", 1.0) for node in ray.nodes() if _is(node, node_id))
    return max(1, int(cpus))


def _is(node: dict[str, str], node_id: str) -> bool:
    return node["NodeID"] == node_id


def _store_bytes() -> int:
    from spectrum.training.node_copies import store_bytes_of_node

    return store_bytes_of_node()
