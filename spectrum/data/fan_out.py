"""Tasks on Ray Data, one a job: what is tried again, and when a job is given up.

A job whose worker dies is tried again by Ray Data, without end; here it ends. A job is tried twice
beside others and once alone, since a node that runs out of memory ends whoever worked there last.
Not here: what the tasks do (``making``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from spectrum.config.frozen import FrozenConfig
from spectrum.data.attempts import noted, num_deaths
from spectrum.data.waits import WaitTeller, waits_told
from spectrum.errors import LaunchError, ShardError

__all__ = ["MAX_DEATHS", "fan_out"]

MAX_DEATHS: Final = 3
"""Workers that a job may end. Each death costs a start of a worker, some seconds, and what a node
does to a bystander it does rarely three times."""

MAX_DEATHS_TOGETHER: Final = MAX_DEATHS - 1
"""The last attempt is made alone, so that nobody else's memory is to blame."""

TO_START_S: Final = 15.0
"""Seconds in which no task has begun before want of CPUs is told: one that has its CPU takes about
10 until its process is there."""

Task = Callable[[str], str]
"""From the JSON of a job to the JSON of what became of it; can be pickled."""


def fan_out(
    task: Task,
    jobs: Sequence[FrozenConfig],
    *,
    notes: Path,
    cpus_per_task: float,
    stays: bool = False,
) -> Iterator[tuple[int, str | None]]:
    """Do each job in a task of its own; yield small results as they come.

    Parameters
    ----------
    task : what is done; an error that it raises ends everything
    jobs : plain data
    notes : folder of this call alone, which all workers see, for attempts
    cpus_per_task : CPUs that each task asks Ray for
        0 inside an actor that holds CPUs itself; half of the CPUs bound the tasks then.
    stays : whether all is done on this node, as no other one sees the files
        The CPUs are its own then; one that gives out none is asked for none.

    Yields
    ------
    index, result
        Of the job; the result is None where it ended every worker that tried it.

    Raises
    ------
    LaunchError
        Ray is not started.
    ShardError
        A task failed.
    """
    if not jobs:
        return
    notes.mkdir(parents=True, exist_ok=True)
    texts = [job.model_dump_json() for job in jobs]
    last: list[int] = []
    place = _place(cpus_per_task, stays=stays)
    together = _rows(texts, range(len(texts)), place)
    for row in _run(task, together, notes, MAX_DEATHS_TOGETHER):
        if row["told"]:
            yield row["index"], row["told"]
        else:
            last.append(row["index"])
    if last:
        alone = _rows(texts, last, {**place, "compute": _pool(1)})
        for row in _run(task, alone, notes, MAX_DEATHS):
            yield row["index"], row["told"] or None


Rows = tuple[list[dict[str, Any]], dict[str, Any]]
"""Rows of a data set, and how they are mapped."""


def _rows(texts: Sequence[str], indices: Sequence[int], place: dict[str, Any]) -> Rows:
    return [{"index": index, "job": texts[index]} for index in indices], place


def _run(task: Task, rows: Rows, notes: Path, max_deaths: int) -> Iterator[dict[str, Any]]:
    import ray.data
    from ray.exceptions import RayError

    items, options = rows
    arguments = {"task": task, "notes": str(notes), "max_deaths": max_deaths}
    teller = WaitTeller([{"CPU": options["num_cpus"]}], first_s=TO_START_S)
    waits = waits_told(teller, lambda: not any(notes.glob("*")))
    with _quiet(), waits:
        mapped = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _try, fn_kwargs=arguments, **options
        )
        try:
            yield from mapped.iter_rows()
        except RayError as err:
            raise ShardError(
                f"A worker failed: {_reason(err)}. "
                "Finished runs are kept; look at memory and disk, and start again."
            ) from err


def _reason(err: Exception) -> str:
    """Return what a task raised; Ray tells it amid its own stack, and text about its settings."""
    raised = re.findall(r"^(?:[a-z_]+\.)*(\w+(?:Error|Exception): .+)$", str(err), re.MULTILINE)
    return raised[0] if raised else " ".join(str(err).split())[-300:]


def _try(row: dict[str, Any], *, task: Task, notes: str, max_deaths: int) -> dict[str, Any]:
    """Do a job unless it has ended too many workers; "" tells that it was not done."""
    folder, name = Path(notes), str(row["index"])
    if num_deaths(folder, name) >= max_deaths:
        return {"index": row["index"], "told": ""}
    with noted(folder, name):
        return {"index": row["index"], "told": task(row["job"])}


def _place(cpus_per_task: float, *, stays: bool) -> dict[str, Any]:
    """Let Ray's CPUs bound the tasks; where none is asked for, half of what there are do."""
    import ray

    if not ray.is_initialized():
        raise LaunchError("Ray is not started. Start or join it before shards are made.")
    num_cpus, options = _this_node() if stays else (ray.cluster_resources().get("CPU", 1), {})
    asked = min(cpus_per_task, num_cpus) if stays else cpus_per_task
    size = None if asked > 0 else max(1, int(num_cpus) // 2)
    return {"compute": _pool(size), "num_cpus": asked, **options}


def _this_node() -> tuple[float, dict[str, Any]]:
    """Return the CPUs that this node gives out, and what keeps a task on it."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    told = {node["NodeID"]: node["Resources"] for node in ray.nodes()}
    return told[here].get("CPU", 0), {"label_selector": {"ray.io/node-id": here}}


def _pool(size: int | None) -> Any:
    """Return what runs so many tasks at a time, or for None as many as have their CPUs."""
    import ray.data

    return ray.data.TaskPoolStrategy(size=size)


@contextmanager
def _quiet() -> Iterator[None]:
    """Run Ray Data without its bars and notes; its settings are the caller's again afterwards."""
    import ray.data

    logger = logging.getLogger("ray.data")
    context = ray.data.DataContext.get_current()
    before = (logger.level, context.enable_progress_bars, context.print_on_execution_start)
    logger.setLevel(logging.ERROR)
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield
    finally:
        logger.setLevel(before[0])
        context.enable_progress_bars, context.print_on_execution_start = before[1:]
