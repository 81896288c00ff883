"""Whether every node of a cluster sees the folders that a study reads and writes.

A path is only a name: on a node without the shared storage it is another folder, or none, and its
trials would fail one after the other, or write where nobody looks. Each node reads a mark that
this process wrote, and writes one that this process reads. Not here: what a node does with an
object store (``shared_stores``).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import spectrum
from spectrum.errors import SearchError
from spectrum.search.shared_stores import StoreMarks, marked, reach

__all__ = ["check_nodes_see", "look"]

PATIENCE_S: Final = 10.0
"""Seconds for what one node wrote to be seen by another; NFS keeps what it knows for a while."""

TO_ANSWER_S: Final = 120.0
"""Seconds for all nodes to answer; a node that was idle starts a process first."""

LOOK_S: Final = 0.2


def check_nodes_see(
    written: Sequence[Path], read: Sequence[Path] = (), stores: Sequence[str] = ()
) -> None:
    """Refuse a study that a node of the cluster could not take part in.

    On one node alone, without stores, nothing is looked at.

    Parameters
    ----------
    written : folders that every node writes to; made where they are not there
    read : folders that every node reads
    stores : addresses that every node reads and writes

    Raises
    ------
    SearchError
        A node sees another folder or none, cannot write there or to a store, has no Spectrum or
        another version of it, or does not answer; it is named.
    StorageError
        This machine cannot write to a store.
    """
    import ray

    nodes = {node["NodeID"]: _name_of(node) for node in ray.nodes() if node["Alive"]}
    with marked(stores) as store_marks:
        # Of one node too: a Ray that was joined has its own credentials.
        if len(nodes) > 1 or stores:
            _check_nodes(nodes, written, read, store_marks)


def _check_nodes(
    nodes: dict[str, str], written: Sequence[Path], read: Sequence[Path], store_marks: StoreMarks
) -> None:
    token = uuid.uuid4().hex[:12]
    marks = [_mark(folder, token) for folder in written]
    try:
        answers = _ask(nodes, marks, [str(folder.absolute()) for folder in read], store_marks)
        _refuse(nodes, answers)
        for node_id, name in nodes.items():
            for mark in marks:
                _check_seen(mark, node_id, name)
    finally:
        for mark in marks:
            for path in (mark, *(_answer_to(mark, node_id) for node_id in nodes)):
                path.unlink(missing_ok=True)


def look(marks: Sequence[str], folders: Sequence[str], node_id: str) -> list[str]:
    """Look from a node; return what is wrong there, and answer each mark that is there.

    Parameters
    ----------
    marks : files that the study's driver wrote
    folders : that have to be there
    node_id : of the node, for the names of the answers
    """
    problems = [f"sees no folder {folder}" for folder in folders if not Path(folder).is_dir()]
    for mark in map(Path, marks):
        if not _comes(mark):
            there = "another folder" if mark.parent.is_dir() else "no folder"
            problems.append(f"sees {there} at {mark.parent}")
            continue
        try:
            _answer_to(mark, node_id).write_text(node_id, encoding="utf-8")
        except OSError as err:
            problems.append(f"cannot write to {mark.parent} ({err.strerror})")
    return problems


def _look_from_here(
    marks: list[str], folders: list[str], store_marks: StoreMarks, node_id: str
) -> tuple[str, list[str], list[str]]:
    return spectrum.__version__, look(marks, folders, node_id), reach(store_marks, node_id)


def _mark(folder: Path, token: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder.absolute() / f".seen-{token}"
    mark.write_text(token, encoding="utf-8")
    return mark


def _answer_to(mark: Path, node_id: str) -> Path:
    return mark.with_name(f"{mark.name}.{node_id}")


def _ask(
    nodes: dict[str, str], marks: list[Path], folders: list[str], store_marks: StoreMarks
) -> dict[str, Any]:
    """Return what each node tells, or the error in its place."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(_look_from_here)
    asked = {
        node_id: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote([str(mark) for mark in marks], folders, store_marks, node_id)
        for node_id in nodes
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=TO_ANSWER_S)
    return {node_id: _answer(question) for node_id, question in asked.items()}


def _answer(question: Any) -> Any:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        return ray.get(question, timeout=0.1)
    except GetTimeoutError:
        return f"did not answer in {TO_ANSWER_S:g} s"
    except RayError as err:
        return f"could not look: {' '.join(str(err).split())[-200:]}"


def _refuse(nodes: dict[str, str], answers: dict[str, Any]) -> None:
    for node_id, answer in answers.items():
        if isinstance(answer, str):
            raise SearchError(
                f"The node {nodes[node_id]} {answer}. Install Spectrum {spectrum.__version__} on "
                "every node, or take this one out of the cluster."
            )
        version, problems, of_stores = answer
        if version != spectrum.__version__:
            raise SearchError(
                f"The node {nodes[node_id]} has Spectrum {version}, and this is "
                f"{spectrum.__version__}. Install the same on every node."
            )
        if problems:
            raise SearchError(_unseen(nodes[node_id], "; it ".join(problems)))
        if of_stores:
            raise SearchError(
                f"The node {nodes[node_id]} {'; it '.join(of_stores)}. Give every node the "
                "store's endpoint and credentials and a network that reaches it, or take this one "
                "out of the cluster."
            )


def _check_seen(mark: Path, node_id: str, name: str) -> None:
    if not _comes(_answer_to(mark, node_id)):
        raise SearchError(_unseen(name, f"writes to another folder at {mark.parent} than this"))


def _unseen(name: str, problem: str) -> str:
    return (
        f"The node {name} {problem}. Give --shards, --studies and data on storage that every node "
        "sees under the same path."
    )


def _comes(path: Path, clock: Callable[[], float] = time.monotonic) -> bool:
    until = clock() + PATIENCE_S
    while not path.exists():
        if clock() > until or not path.parent.is_dir():
            return False
        # A listing makes NFS ask the server again.
        os.listdir(path.parent)  # noqa: PTH208 - the names are not used
        time.sleep(LOOK_S)
    return True


def _name_of(node: dict[str, Any]) -> str:
    name, address = node.get("NodeName", ""), node["NodeManagerAddress"]
    return address if name in ("", address) else f"{name} ({address})"
