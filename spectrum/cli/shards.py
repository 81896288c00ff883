"""Commands about shard sets: shards list, shards prune."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.console import print_json, print_text
from spectrum.cli.options import JsonOption, ShardsOption
from spectrum.cli.tables import aligned
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from spectrum.config import PreprocessingConfig
    from spectrum.data.store import StoredSet

__all__ = ["register"]

GIB = 1024**3


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    shards_app = typer.Typer(help="Shard sets.", no_args_is_help=True)
    shards_app.command("list")(list_shards)
    shards_app.command("prune")(prune_shards)
    app.add_typer(shards_app, name="shards")


def list_shards(shards: ShardsOption = Path("shards"), as_json: JsonOption = False) -> None:
    """List shard sets with recipe, size and last use, the one used last first.

    Example: spectrum shards list
    """
    from spectrum.data.store import list_sets

    _check_folder(shards)
    sets = list_sets(shards)
    if as_json:
        print_json({"sets": [_to_json(stored) for stored in sets]})
    elif sets:
        print_text("\n".join(_table(sets)))
    else:
        print_text(f"{shards} holds no finished shard set.")


def prune_shards(
    budget_gib: Annotated[
        float, typer.Option(min=0.0, help="Size of all sets together that may stay, GiB.")
    ],
    shards: ShardsOption = Path("shards"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the sets used longest ago until the others fit a budget.

    Example: spectrum shards prune --budget-gib 50
    """
    from spectrum.data.store import prune_sets

    _check_budget(budget_gib)
    _check_folder(shards)
    pruned = prune_sets(shards, budget_bytes=int(budget_gib * GIB), dry_run=dry_run)
    if as_json:
        print_json(
            {
                "removed": [_to_json(stored) for stored in pruned.removed],
                "kept": [_to_json(stored) for stored in pruned.kept],
                "bytes_before": pruned.bytes_before,
                "bytes_after": pruned.bytes_after,
                "dry_run": dry_run,
            }
        )
        return
    verb = "would be removed" if dry_run else "removed"
    freed = pruned.bytes_before - pruned.bytes_after
    lines = [f"{len(pruned.removed)} sets {verb}, {_size(freed)}; {len(pruned.kept)} stay."]
    if pruned.bytes_after > budget_gib * GIB:
        lines.append("What stays is above the budget: it was used in the last two minutes.")
    print_text("\n".join([*lines, *(str(stored.path) for stored in pruned.removed)]))


def _check_budget(budget_gib: float) -> None:
    if not math.isfinite(budget_gib * GIB):
        raise ConfigError(
            f"--budget-gib {budget_gib:g} is no size. Give a finite number of GiB, such as 50."
        )


def _check_folder(shards: Path) -> None:
    if not shards.is_dir():
        raise ConfigError(f"There is no folder {shards}. Give the folder of shard sets, --shards.")


def _to_json(stored: StoredSet) -> dict[str, Any]:
    recipe = stored.recipe.model_dump(mode="json") if stored.recipe else None
    return {**asdict(stored), "path": str(stored.path), "recipe": recipe}


def _table(sets: tuple[StoredSet, ...]) -> list[str]:
    head = ["set", "recipe", "runs", "size", "used"]
    rows = [
        [
            stored.path.name,
            _recipe_text(stored.recipe),
            stored.num_runs,
            _size(stored.num_bytes),
            _ago(time.time() - stored.used_s),
        ]
        for stored in sets
    ]
    return aligned([head, *rows], num_words=2)


def _recipe_text(recipe: PreprocessingConfig | None) -> str:
    """Write what differs from the default recipe."""
    if recipe is None:
        return "damaged"
    default = type(recipe)().model_dump(mode="json")
    values = recipe.model_dump(mode="json")
    changed = [f"{name}={value}" for name, value in values.items() if value != default[name]]
    return ", ".join(changed) or "default"


def _size(num_bytes: int) -> str:
    return (
        f"{num_bytes / GIB:.2f} GiB" if num_bytes >= GIB / 100 else f"{num_bytes / 1024:.0f} KiB"
    )


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
