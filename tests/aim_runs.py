"""Reads an Aim repository as its users do: runs by query, and the steps of a sequence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

ALL = {"fold": "all", "role": "validation"}
"""Context of what is pooled over folds."""


def found(repo: Path, query: str = "") -> dict[str, Any]:
    """Return the runs that Aim finds for a query, by ``study/name``; a name stands for one."""
    from aim import Repo

    aim = Repo.from_path(str(repo))
    aim.container_pool.clear()
    runs = [item.run for item in aim.query_runs(query, report_mode=0).iter_runs()]
    names = Counter((run.experiment, run.name) for run in runs)
    assert set(names.values()) <= {1}, names
    return {f"{run.experiment}/{run.name}": run for run in runs}


def steps(run: Any, name: str, context: dict[str, str] | None = None) -> dict[int, float]:
    """Return a metric of a run by step; nothing where it has none."""
    from aim.storage.context import Context

    metric = run.get_metric(name, Context(ALL if context is None else context))
    if metric is None:
        return {}
    frame = metric.dataframe()
    assert frame["step"].is_unique
    return dict(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))


def num_values(run: Any) -> int:
    """Return how many numbers the metrics of a run hold."""
    return sum(len(metric.dataframe()) for metric in run.metrics())


def objects(run: Any, kind: str, name: str) -> list[Any]:
    """Return the figures, images or texts of a name, in order of their steps."""
    from aim.storage.context import Context

    sequence = getattr(run, f"get_{kind}_sequence")(name, Context(ALL))
    found = [] if sequence is None else sequence.values.sparse_list()[1]
    return [one[0] if isinstance(one, list) else one for one in found]
