"""A cluster of several nodes on this machine alone: brought up, looked at, taken down.

Each node is a raylet with CPUs of its own, so that what happens between machines happens here: to
try a study's placement, a job or a lost node before it is on real ones. One process keeps the
nodes (``keeper``); a file says which, and only those are ended. Not here: clusters of several
machines, which Ray, Slurm or Kubernetes start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from spectrum.errors import LaunchError
from spectrum.launch.guards import refuse_unsafe_switches, require_token
from spectrum.launch.guards import state_folder as own_folder

__all__ = [
    "LOOK_S",
    "REPLACE",
    "ClusterNode",
    "RunningCluster",
    "bring_up",
    "health_times",
    "running_cluster",
    "take_down",
]

STATE_NAME: Final = "cluster.json"

TO_START_S: Final = 300.0
"""Seconds for all nodes to be there, on a machine that is busy."""

TO_END_S: Final = 30.0
"""Seconds for the nodes to end when they are asked to."""

LOOK_S: Final = 0.2

REPLACE: Final = signal.SIGUSR1
"""Tells the keeper to start lost nodes again."""

HEALTH: Final = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "4",
}
"""How the head looks after the nodes: one that does not answer four times in a row counts as dead.
A node that hangs is given up after 40 to 52 s, four time-outs and the periods between them; Ray's
own threshold of five makes that up to 65 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A raylet, by its process and the moment at which that began."""

    name: str
    pid: int
    began: float
    cpus: int

    @property
    def is_alive(self) -> bool:
        """Whether the process is there still, and is the same one."""
        return _is_same(self.pid, self.began)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCluster:
    """What ``cluster up`` started."""

    address: str
    dashboard: str
    token: str
    folder: str
    pid: int
    began: float
    nodes: tuple[ClusterNode, ...]

    @property
    def is_alive(self) -> bool:
        """Whether the process that keeps the nodes is there still."""
        return _is_same(self.pid, self.began)

    def to_json(self) -> dict[str, Any]:
        """Return what a script may want to know; the token is named by its file alone."""
        nodes = [{**asdict(node), "alive": node.is_alive} for node in self.nodes]
        return {**asdict(self), "nodes": nodes, "alive": self.is_alive}


def health_times() -> dict[str, str]:
    """Return the environment of a head that gives up a node that hangs within a minute.

    What the environment says already stays.
    """
    return {name: value for name, value in HEALTH.items() if name not in os.environ}


def running_cluster(state_folder: Path | None = None) -> RunningCluster | None:
    """Return the cluster that was brought up here, or None where none runs."""
    path = (state_folder or own_folder()) / STATE_NAME
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(ClusterNode(**node) for node in told.pop("nodes"))
        found = RunningCluster(nodes=nodes, **told)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as err:
        raise LaunchError(
            f"{path} is not what spectrum cluster up writes ({err}). Remove it, and end by hand "
            "what it named."
        ) from err
    return found if found.is_alive else None


def bring_up(
    *,
    num_nodes: int,
    cpus_per_node: int,
    object_store_gib: float,
    dashboard_port: int = 0,
    state_folder: Path | None = None,
) -> RunningCluster:
    """Start nodes on 127.0.0.1 that demand a token; return when all are there.

    Where a cluster runs already that lost nodes, those alone are started again, as they were.

    Parameters
    ----------
    num_nodes : >= 1, the head included
    cpus_per_node : that each gives out; they may be more than the machine has
    object_store_gib : shared memory of each
    dashboard_port : of the dashboard and the jobs; 0 takes a free one
    state_folder : of the token and the state; None is ``~/.spectrum``

    Raises
    ------
    LaunchError
        One runs already and has lost nothing, it lost its head, or a node does not start.
    """
    folder = state_folder or own_folder()
    refuse_unsafe_switches()
    if (found := running_cluster(folder)) is not None:
        return _replace_lost(found, folder)
    require_token(folder)
    # A token of the environment leaves the folder unmade.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    session = Path(tempfile.mkdtemp(prefix="spectrum-"))
    asked = {
        "num_nodes": num_nodes,
        "cpus_per_node": cpus_per_node,
        "object_store_gib": object_store_gib,
        "dashboard_port": dashboard_port,
        "folder": str(session),
        "state": str(folder / STATE_NAME),
        "token": os.environ.get("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN of the environment"),
    }
    keeper = _start_keeper(asked, session)
    return _wait_until_up(keeper, folder, session)


def _replace_lost(found: RunningCluster, folder: Path) -> RunningCluster:
    lost = [node.name for node in found.nodes if not node.is_alive]
    if not lost or not found.nodes[0].is_alive:
        what = "has lost its head" if lost else "runs here already"
        raise LaunchError(
            f"The cluster at {found.address} {what}. End it with spectrum cluster down"
            f"{'.' if lost else ', or use it.'}"
        )
    psutil.Process(found.pid).send_signal(REPLACE)
    until = time.monotonic() + TO_START_S
    while time.monotonic() < until and (now := running_cluster(folder)) is not None:
        if all(node.is_alive for node in now.nodes):
            return now
        time.sleep(LOOK_S)
    raise LaunchError(
        f"The nodes {', '.join(lost)} did not start again; the logs are in {found.folder}. End "
        "the cluster with spectrum cluster down."
    )


def _start_keeper(asked: dict[str, Any], session: Path) -> subprocess.Popen[bytes]:
    # A folder of its own keeps Ray from taking this cluster for everyone's on the machine.
    environment = os.environ | health_times() | {"RAY_TMPDIR": str(session)}
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    environment.pop("RAY_ADDRESS", None)
    with (session / "keeper.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "spectrum.launch.keeper", json.dumps(asked)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C in the terminal ends what the user runs, not the cluster.
            start_new_session=True,
        )


def _wait_until_up(keeper: subprocess.Popen[bytes], folder: Path, session: Path) -> RunningCluster:
    until = time.monotonic() + TO_START_S
    try:
        while time.monotonic() < until and keeper.poll() is None:
            found = running_cluster(folder)
            if found is not None and found.pid == keeper.pid:
                return found
            time.sleep(LOOK_S)
    except BaseException:
        _end([psutil.Process(keeper.pid)])
        _forget(folder, session)
        raise
    log = session / "keeper.log"
    told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if keeper.poll() is None:
        _end([psutil.Process(keeper.pid)])
    raise LaunchError(
        f"The cluster did not start: {told[-1] if told else 'it said nothing'}. "
        f"A busy machine may need a second attempt; the logs are in {session}."
    )


def take_down(state_folder: Path | None = None) -> RunningCluster | None:
    """End the nodes that ``bring_up`` started here, and nothing else; return what they were.

    Raises
    ------
    LaunchError
        A process did not end.
    """
    folder = state_folder or own_folder()
    found = running_cluster(folder)
    if found is not None:
        ours = [psutil.Process(found.pid)]
        # What the keeper did not start any more after a node was killed hangs below no one.
        ours += [psutil.Process(node.pid) for node in found.nodes if node.is_alive]
        _end(ours)
        _forget(folder, Path(found.folder))
    (folder / STATE_NAME).unlink(missing_ok=True)
    return found


def _forget(folder: Path, session: Path) -> None:
    """Remove what a cluster that has ended left on the disk."""
    shutil.rmtree(session, ignore_errors=True)
    for name in (STATE_NAME, f".{STATE_NAME}.part"):
        (folder / name).unlink(missing_ok=True)


def _end(processes: Sequence[psutil.Process]) -> None:
    """Ask processes to end, and end those that do not, with all below them."""
    tree = [p for process in processes for p in (process, *_below(process))]
    for process in tree:
        _signal(process, signal.SIGCONT)
    _signal(processes[0], signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=TO_END_S)
    for process in alive:
        _signal(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(alive, timeout=TO_END_S)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise LaunchError(f"Processes {pids} of the cluster did not end. End them by hand.")


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _is_same(pid: int, began: float) -> bool:
    try:
        process = psutil.Process(pid)
        is_there = process.status() != psutil.STATUS_ZOMBIE
        return is_there and abs(process.create_time() - began) < 1.0
    except psutil.NoSuchProcess:
        return False
