"""The plan of a search, for the machine that is asked, and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectrum.cli.tables import aligned
from spectrum.data.describing import size_text

if TYPE_CHECKING:
    from spectrum.search.space import SearchSpace

__all__ = ["cost_lines", "duration_text", "number_text", "plan_text", "planned"]

MAX_SETS_SHOWN = 24
"""Shard sets that are each told; of a larger space the first ones, and how many more."""


def planned(
    space: SearchSpace,
    roots: Sequence[Path],
    *,
    shards_root: Path,
    num_trials: int | None,
    cpus: int | None,
    probes: bool,
) -> dict[str, Any]:
    """Return the plan of a search on this machine.

    Parameters
    ----------
    cpus : that Ray would get; None is all of this process
    probes : whether a short fit is measured
    """
    import torch

    from spectrum.launch import available_cpus
    from spectrum.search.forecast import Machine
    from spectrum.search.placement import Node, place_trials, worker_counts
    from spectrum.search.study import plan_study
    from spectrum.training.probe import probe_fit

    node = Node(cpus or available_cpus(), torch.cuda.device_count())
    placement = place_trials([node], worker_counts(space), space.study.gpus_per_worker)
    return plan_study(
        space,
        roots=roots,
        shards_root=shards_root,
        num_trials=num_trials,
        machine=Machine(
            num_concurrent=min(
                placement.num_concurrent, space.study.concurrent_trials or placement.num_concurrent
            ),
            has_gpu=placement.gpus_per_worker > 0,
            shares_gpu=0 < placement.gpus_per_worker < 1,
            probe=probe_fit if probes else None,
        ),
    )


def plan_text(plan: Mapping[str, Any]) -> str:
    """Write a plan for people; shard sets one a line."""
    disk = plan["disk"]
    apart = (
        "storage",
        "disk",
        "refusal",
        "parameters",
        "cost",
        *(["sealed"] if not plan["sealed"] else []),
    )
    told = {k: v for k, v in plan.items() if k not in apart}
    lines = [f"{name}: {value}" for name, value in told.items()]
    lines += ["parameters:", *(f"  {path}: {text}" for path, text in plan["parameters"].items())]
    lines += _storage_lines(plan.get("storage", ()))
    lines += cost_lines(plan)
    return "\n".join([*lines, *_disk_lines(disk, plan["num_trials"])])


def _storage_lines(places: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["storage:"] if places else []
    return [*head, *(f"  {place['address']}: {_state_text(place)}" for place in places)]


def _state_text(place: Mapping[str, Any]) -> str:
    if place["problem"] is not None:
        return "cannot be used, see below"
    if "study" not in place:
        return f"can be read, {place['num_folders']} shard sets"
    study = place["study"]
    if study is None:
        return "can be read, no study yet"
    counts = (
        f"{study[f'num_{state}']} {state}"
        for state in ("complete", "pruned", "failed", "unfinished")
        if study[f"num_{state}"]
    )
    by = study["searched_by"]
    at_work = f"; a search works on it, or was killed ({by})" if by else ""
    return (
        f"a study of {study['created'][:10]}, trials: {', '.join(counts) or 'none'}{at_work}. "
        "--resume goes on with it"
    )


def cost_lines(plan: Mapping[str, Any]) -> list[str]:
    """Return what the trials cost, and what is not known of it."""
    cost, num_trials = plan["cost"], plan["num_trials"]
    lines = ["", f"cost, over {cost['num_points']} points of the space:"]
    for name in ("parameters", "gflop_of_trial", "seconds_per_trial"):
        if cost[name] is not None:
            spread = ", ".join(
                f"{what} {number_text(value)}" for what, value in cost[name].items()
            )
            lines.append(f"  {name}: {spread}")
    if cost["refused_points"]:
        lines.append(
            f"  {len(cost['refused_points'])} points cannot be built; "
            f"the first: {cost['refused_points'][0]}"
        )
    if cost["hours"] is None:
        lines.append("  time: not measured")
    else:
        at_a_time = cost["num_concurrent"] or 1
        lines.append(
            f"  time: about {duration_text(cost['hours'])} for {num_trials} trials, "
            f"{at_a_time} at a time, if none stops early (probed in {cost['probe']['seconds']} s)"
        )
    return [*lines, *_sharing_lines(cost), *_rerun_lines(cost), *_making_lines(plan)]


def _sharing_lines(cost: Mapping[str, Any]) -> list[str]:
    if not cost["shares_gpu"] or cost["hours"] is None:
        return []
    return ["  trials that share a GPU slow each other, which is not counted"]


def _rerun_lines(cost: Mapping[str, Any]) -> list[str]:
    number = cost["reruns_at_most"]
    if not number:
        return []
    time = "" if cost["rerun_hours"] is None else f", about {duration_text(cost['rerun_hours'])}"
    return [f"  add up to {number} re-runs of the best trials and the default{time}"]


def _making_lines(plan: Mapping[str, Any]) -> list[str]:
    num_missing = plan["shard_sets"] - plan["shard_sets_ready"]
    if not num_missing:
        return []
    return [f"  add the making of up to {num_missing} shard sets, whose time is not known"]


def number_text(value: float) -> str:
    """Return a number with as many digits as say something.

    Examples
    --------
    >>> [number_text(value) for value in (31394, 443.618, 3.256)]
    ['31,394', '444', '3.26']
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration_text(hours: float) -> str:
    """Return a duration in the unit that reads best.

    Examples
    --------
    >>> [duration_text(hours) for hours in (0.004, 0.3, 7.25)]
    ['14 s', '18 min', '7.2 h']
    """
    if hours >= 1.0:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{hours * 3600:.0f} s"


def _disk_lines(disk: Mapping[str, Any], num_trials: int) -> list[str]:
    sets = disk["sets"]
    head = ["shard set", "made", "runs", "size"]
    rows = [
        [s["recipe"], "yes" if s["made"] else "no", s["num_runs"], size_text(s["num_bytes"])]
        for s in sets[:MAX_SETS_SHOWN]
    ]
    lines = ["", *aligned([head, *rows], num_words=2)]
    if len(sets) > MAX_SETS_SHOWN:
        lines.append(f"and {len(sets) - MAX_SETS_SHOWN} more")
    budget = disk["disk_bytes"]
    bound = "no budget (study.disk_gib)" if budget is None else f"budget {size_text(budget)}"
    return [
        *lines,
        f"sets that {num_trials} trials can still make: up to {size_text(disk['set_bytes'])}, "
        f"{bound}",
        f"spatial parts of runs, which recipes share and which stay: {disk['spatial_products']} "
        f"products, {size_text(disk['spatial_bytes'])}",
        f"needed: up to {size_text(disk['needed_bytes'])}; free: {size_text(disk['free_bytes'])}",
    ]
