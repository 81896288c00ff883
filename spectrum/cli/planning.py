"""The plan of a search in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectrum.cli.tables import aligned
from spectrum.data.describing import size_text

__all__ = ["plan_text"]

MAX_SETS_SHOWN = 24
"""Shard sets that are each told; of a larger space the first ones, and how many more."""


def plan_text(plan: Mapping[str, Any]) -> str:
    """Write a plan for people; shard sets one a line."""
    disk = plan["disk"]
    told = {k: v for k, v in plan.items() if k not in ("disk", "refusal", "parameters")}
    lines = [f"{name}: {value}" for name, value in told.items()]
    lines += ["parameters:", *(f"  {path}: {text}" for path, text in plan["parameters"].items())]
    return "\n".join([*lines, *_disk_lines(disk, plan["num_trials"])])


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
