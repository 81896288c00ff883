"""How many trials a cluster runs at a time, and what each asks for.

A trial of one worker is one process with a CPU and a share of a GPU. One of several is a gang: all
its workers are placed at once or not at all, and the process that leads them asks for no CPU, so
that no trial holds a part of what another waits for. Pure but for ``nodes_of_cluster`` and
``has_place``. Not here: who places them (``tune_adapters``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from spectrum.errors import SearchError
from spectrum.search.space import SearchSpace
from spectrum.search.validity import related_values

__all__ = [
    "Node",
    "Placement",
    "bundles_of",
    "gpus_of_trial",
    "has_place",
    "nodes_of_cluster",
    "place_trials",
    "worker_counts",
]

HEAD: Final = "node:__internal_head__"
HEAD_SHARE: Final = 0.001
"""Ray gives the head 1.0 of this resource, and no other node any: a thousand leaders."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of the cluster gives out."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Trials at a time, and the share of a GPU that a trial of one worker gets."""

    num_concurrent: int
    gpus_per_worker: float


def nodes_of_cluster() -> tuple[Node, ...]:
    """Return the living machines of the cluster that this process is connected to."""
    import ray

    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return tuple(Node(r.get("CPU", 0.0), r.get("GPU", 0.0)) for r in resources)


def has_place() -> bool:
    """Tell whether a placement group of this process has its place; a trial then starts there."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    # The name of a group ends in that of the job that made it.
    own = (told["state"] for name, told in placement_group_table().items() if name.endswith(job))
    return "CREATED" in own


def worker_counts(space: SearchSpace) -> tuple[int, ...]:
    """Return the values of ``training.workers`` that trials of a space can have, ascending."""
    values_of = related_values(space, ("training.workers",))
    combinations = itertools.product(*values_of.values())
    points = (space.point_from(dict(zip(values_of, v, strict=True))) for v in combinations)
    found = {space.config(point).training.workers for point in points}
    return tuple(sorted(found | {space.default_config.training.workers}))


def place_trials(
    nodes: Sequence[Node],
    workers: Iterable[int],
    gpus_per_worker: float | Literal["auto"] | None,
) -> Placement:
    """Return how many trials run at a time; refuse what could never be placed.

    Parameters
    ----------
    workers : values of ``training.workers`` that trials may have, at least one
    gpus_per_worker : None is one where the cluster has any, else 0; so is ``auto``, of which more
        is known only when it is measured (``gpu_share``)

    Raises
    ------
    SearchError
        Where a trial needs more than the whole cluster has.

    Examples
    --------
    >>> place_trials([Node(16, 2)], [1], 0.25)
    Placement(num_concurrent=8, gpus_per_worker=0.25)
    >>> place_trials([Node(4), Node(3)], [2], None)
    Placement(num_concurrent=3, gpus_per_worker=0.0)
    """
    share = gpus_per_worker
    if share is None or share == "auto":
        share = float(any(node.gpus for node in nodes))
    places = {count: _num_places(nodes, _share_of(count, share)) for count in workers}
    for count, num_places in places.items():
        if num_places < count:
            raise SearchError(_refusal(nodes, count, _share_of(count, share), num_places))
    num_concurrent = max(num_places // count for count, num_places in places.items())
    return Placement(num_concurrent=num_concurrent, gpus_per_worker=share)


def bundles_of(
    workers: int, gpus_per_worker: float, *, leaders: Literal["head", "any"] = "any"
) -> list[dict[str, float]]:
    """Return what a trial asks for, the process that leads it first.

    Parameters
    ----------
    leaders : whether that stands on the cluster's head; ``any`` is beside the first worker

    Examples
    --------
    >>> bundles_of(1, 0.25)
    [{'CPU': 1.0, 'GPU': 0.25}]
    >>> bundles_of(2, 0.25)
    [{}, {'CPU': 1.0, 'GPU': 1.0}, {'CPU': 1.0, 'GPU': 1.0}]
    >>> bundles_of(2, 0.0, leaders="head")[0]
    {'node:__internal_head__': 0.001}
    """
    leader = {HEAD: HEAD_SHARE} if leaders == "head" else {}
    own = {"CPU": 1.0, "GPU": _share_of(workers, gpus_per_worker)}
    return [own] if workers == 1 else [leader, *(dict(own) for _ in range(workers))]


def gpus_of_trial(workers: int, gpus_per_worker: float) -> float:
    """Return the GPUs that all workers of a trial have together.

    Examples
    --------
    >>> gpus_of_trial(1, 0.25), gpus_of_trial(3, 0.25), gpus_of_trial(2, 0.0)
    (0.25, 3.0, 0.0)
    """
    return sum(bundle.get("GPU", 0.0) for bundle in bundles_of(workers, gpus_per_worker))


def _share_of(workers: int, share: float) -> float:
    """Return the GPUs of one worker: among several a whole one, as NCCL takes no GPU twice."""
    return share if workers == 1 else float(math.ceil(share))


def _num_places(nodes: Sequence[Node], share: float) -> int:
    """Return how many workers the machines hold together; none is spread over two."""
    return sum(int(n.cpus if share == 0 else min(n.cpus, n.gpus / share)) for n in nodes)


def _refusal(nodes: Sequence[Node], workers: int, share: float, num_places: int) -> str:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    each = f"{share:g} GPUs and a CPU on one machine" if share else "a CPU"
    what = f"{workers} workers, each with {each}" if workers > 1 else f"1 CPU and {share:g} GPUs"
    remedies = ["Start or join a Ray with more"]
    remedies += ["lower training.workers"] if workers > 1 else []
    remedies += ["lower study.gpus_per_worker"] if share else []
    return (
        f"A trial needs {what}; the cluster has {cpus:g} CPUs and {gpus:g} GPUs, room for "
        f"{num_places}. {', or '.join(remedies)}."
    )
