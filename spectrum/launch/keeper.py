"""The process that keeps the nodes of a cluster on this machine, as long as it is not told to end.

    python -m spectrum.launch.keeper JSON

Its environment has the token, the address and the folder of Ray. Not here: who starts and ends it
(``cluster``).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import psutil

from spectrum.launch.cluster import LOOK_S, REPLACE, ClusterNode, RunningCluster

__all__ = ["main"]

GIB: Final = 2**30
HOST: Final = "127.0.0.1"


def main() -> None:
    """Start the nodes, write where they are, and wait; start lost ones again when asked to."""
    asked = json.loads(sys.argv[1])
    wanted: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    signal.signal(REPLACE, lambda number, frame: wanted.append(number))
    from ray.cluster_utils import Cluster

    cluster = Cluster(shutdown_at_exit=False)
    try:
        nodes = [_add(cluster, index, asked) for index in range(asked["num_nodes"])]
        while True:
            _write(cluster, tuple(nodes), asked)
            while not wanted:
                # Looking is what lets a process that was killed go.
                for kept in cluster.list_all_nodes():
                    kept.remaining_processes_alive()
                time.sleep(LOOK_S)
            wanted.clear()
            nodes = [
                node if node.is_alive else _add(cluster, index, asked)
                for index, node in enumerate(nodes)
            ]
    finally:
        cluster.shutdown()


def _leave(number: int, frame: Any) -> None:
    sys.exit(0)


def _add(cluster: Any, index: int, asked: dict[str, Any]) -> ClusterNode:
    name = "head" if index == 0 else f"node-{index}"
    node = cluster.add_node(
        node_name=name,
        num_cpus=asked["cpus_per_node"],
        object_store_memory=int(asked["object_store_gib"] * GIB),
        include_dashboard=index == 0,
        dashboard_host=HOST,
        dashboard_port=asked["dashboard_port"] or None,
        # Ray's own choice is one port for every head of a machine; without it none takes jobs.
        dashboard_agent_listen_port=0,
        include_log_monitor=False,
    )
    (raylet,) = node.all_processes["raylet"]
    pid = raylet.process.pid
    return ClusterNode(
        name=name,
        pid=pid,
        began=psutil.Process(pid).create_time(),
        cpus=asked["cpus_per_node"],
    )


def _write(cluster: Any, nodes: tuple[ClusterNode, ...], asked: dict[str, Any]) -> None:
    state = RunningCluster(
        address=cluster.address,
        dashboard=f"http://{cluster.webui_url}",
        token=asked["token"],
        folder=asked["folder"],
        pid=os.getpid(),
        began=psutil.Process().create_time(),
        nodes=nodes,
    )
    path = Path(asked["state"])
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(asdict(state)), encoding="utf-8")
    part.replace(path)


if __name__ == "__main__":
    main()
