"""One copy of the volumes for all processes of a node, in the shared memory of Ray's object store.

One small actor a node and study reads the runs and puts them, one object a run, so that no second
copy ever lies in a heap. It answers one request after the other: of processes that ask at once,
the first has the copy made and the others find it. What it hands out are references; arrays on
them are views of the shared memory, not copies and not to be written to.

Who owns what: the actor owns the objects, and the process that started the actor owns it through
its ``NodeCopies``: the driver of a study on its own node, the first trial on any other. When one
of these ends, views that others hold stay good, as the store counts them; who asks next starts a
new actor and has a new copy made. Nothing outlives the Ray job of the study. Not here: whether
volumes are shared at all (``feeding``).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import ObjectLostError, ObjectStoreFullError, OutOfDiskError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from spectrum.data.read_ahead import iter_ahead
from spectrum.data.sequences import read_in_plane
from spectrum.data.shards import ShardSet
from spectrum.data.units import SequenceRuns
from spectrum.errors import ShardError

__all__ = ["CopyHolder", "CopyRequest", "NoRoom", "NodeCopies", "store_bytes_of_node"]

ACTOR_NAME: Final = "spectrum-volumes"

STORE_SHARE: Final = 0.7
"""Share of the object store that copies may take; the rest is for the blocks of Ray Data, which
makes shard sets, and for results."""

ATTEMPTS: Final = 5
SECONDS_BETWEEN_ATTEMPTS: Final = 0.5
"""A dead actor's name is free again within a second."""

READERS: Final = 2
"""Runs that are read, or wait to be put, at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """Which runs of which shard set in which plane; ``was_lost`` has them read again."""

    path: str
    content_hash: str
    plane: str
    run_indices: tuple[int, ...]
    num_bytes: int
    was_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Why a node has no copy to give, as the middle of a sentence."""

    reason: str


class CopyHolder:
    """Holds the copies of one node; those asked for longest ago make room for new ones.

    Parameters
    ----------
    capacity_bytes : of all copies together
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._copies: OrderedDict[tuple[str, str], dict[int, Any]] = OrderedDict()
        self._num_bytes: dict[tuple[str, str], int] = {}

    def references(self, request: CopyRequest) -> dict[int, Any] | NoRoom:
        """Return a reference to each run of a request, made now where there is none.

        Raises
        ------
        ShardError
            The set is gone, or is not the one that was asked for.
        """
        key = (request.content_hash, request.plane)
        if request.was_lost:
            self._drop(key)
        copy = self._copies.setdefault(key, {})
        self._copies.move_to_end(key)
        if any(index not in copy for index in request.run_indices):
            if not self._has_room(key, request.num_bytes):
                return self._no_room(request.num_bytes)
            self._num_bytes[key] = max(request.num_bytes, self._num_bytes.get(key, 0))
            try:
                self._put(request, copy)
            except (ObjectStoreFullError, OutOfDiskError):
                self._drop(key)
                return self._no_room(request.num_bytes)
        return {index: copy[index] for index in request.run_indices}

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each copy, by content hash and plane."""
        return {"/".join(key): self._num_bytes[key] for key in self._copies}

    def _has_room(self, key: tuple[str, str], num_bytes: int) -> bool:
        if num_bytes > self._capacity_bytes:
            self._drop(key)
            return False
        others = [other for other in self._copies if other != key]
        while num_bytes + sum(self._num_bytes[o] for o in others) > self._capacity_bytes:
            self._drop(others.pop(0))
        return True

    def _put(self, request: CopyRequest, copy: dict[int, Any]) -> None:
        shards = ShardSet.open(Path(request.path))
        if shards.manifest.content_hash != request.content_hash:
            raise ShardError(
                f"{request.path} holds other volumes than a moment ago. "
                "The set was made anew meanwhile; open it again."
            )
        reader, shape = shards.reader(), shards.manifest.shape_SHW

        def read(index: int) -> NDArray[np.float16]:
            run = shards.manifest.runs[index]
            return np.ascontiguousarray(read_in_plane(reader, run, shape, request.plane))

        missing = [index for index in request.run_indices if index not in copy]
        arrays = iter_ahead(read, missing, depth=READERS, num_threads=READERS)
        for index, slices_VSHW in zip(missing, arrays, strict=True):
            copy[index] = ray.put(slices_VSHW)

    def _drop(self, key: tuple[str, str]) -> None:
        """Let go of a copy; its memory is free when no process holds a view of it."""
        self._copies.pop(key, None)
        self._num_bytes.pop(key, None)

    def _no_room(self, num_bytes: int) -> NoRoom:
        return NoRoom(
            reason=f"the volumes take {_mib(num_bytes)} and copies may take "
            f"{_mib(self._capacity_bytes)} of this node's object store"
        )


class NodeCopies:
    """The way of a process to the copies of its node; keeps an actor alive that it started.

    Where several processes start one at once, one does and the others find it by its name, which
    is known within a Ray job.
    """

    def __init__(self) -> None:
        self._holder: Any = None

    def start(self) -> None:
        """Start the actor where there is none; return before it is there."""
        self._holder = _find_holder()

    def share(self, streamed: SequenceRuns, shards: ShardSet, plane: str) -> SequenceRuns | NoRoom:
        """Return sequences whose runs are views of the one copy, made where there is none.

        Parameters
        ----------
        streamed : the sequences, of ``shards`` in ``plane``
        shards : readable on this node
        plane : of ``SequencesConfig``

        Raises
        ------
        ShardError
            The set is gone or damaged.
        """
        request = CopyRequest(
            path=str(shards.path.absolute()),
            content_hash=streamed.content_hash,
            plane=plane,
            run_indices=streamed.table.used_runs,
            num_bytes=streamed.num_bytes,
        )
        for _ in range(ATTEMPTS):
            try:
                found = self._views(request)
            except ObjectLostError:
                request = replace(request, was_lost=True)
            except RayActorError:
                # The name of an actor that died is free again in a moment.
                self._holder = None
                time.sleep(SECONDS_BETWEEN_ATTEMPTS)
            else:
                if isinstance(found, NoRoom):
                    return found
                return replace(streamed, read_run=found.__getitem__, is_in_memory=True)
        return NoRoom(reason=f"the copy of this node was lost {ATTEMPTS} times")

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each copy of this node, by content hash and plane."""
        found: dict[str, int] = ray.get(_find_holder().sizes.remote())
        return found

    def _views(self, request: CopyRequest) -> Mapping[int, NDArray[np.float16]] | NoRoom:
        """Return arrays on the node's copy."""
        if self._holder is None:
            self.start()
        answer = ray.get(self._holder.references.remote(request))
        if isinstance(answer, NoRoom):
            return answer
        arrays = ray.get(list(answer.values()))
        return dict(zip(answer, arrays, strict=True))


def store_bytes_of_node() -> int:
    """Return what copies may take of the object store of the node that this process is on."""
    node_id = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id)
    return int(STORE_SHARE * resources.get("object_store_memory", 0.0))


def _find_holder() -> Any:
    """Return the actor of this node and job, started where there is none."""
    node_id = ray.get_runtime_context().get_node_id()
    options = {
        "name": f"{ACTOR_NAME}-{node_id}",
        "get_if_exists": True,
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=False),
    }
    return ray.remote(CopyHolder).options(**options).remote(store_bytes_of_node())


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"
