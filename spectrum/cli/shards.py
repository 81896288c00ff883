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
from spectrum.data.describing import GIB, recipe_words, size_text
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from spectrum.config import PreprocessingConfig
    from spectrum.data.store import StoredSet

__all__ = ["register"]

DAY_S = 86_400.0
PRUNE = "spectrum shards prune"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    shards_app = typer.Typer(help="Shard sets.", no_args_is_help=True)
    shards_app.command("list")(list_shards)
    shards_app.command("prune")(prune_shards)
    app.add_typer(shards_app, name="shards")


def list_shards(shards: ShardsOption = Path("shards"), as_json: JsonOption = False) -> None:
    """List shard sets with recipe, size and last use, the one used last first.

    Sizes are in units of 1024: GiB, MiB, KiB.

    Example: spectrum shards list
    """
    from spectrum.data.store import list_sets, spatial_bytes

    _check_folder(shards)
    sets = list_sets(shards)
    num_parts, num_bytes = spatial_bytes(shards)
    if as_json:
        told = {"num_parts": num_parts, "num_bytes": num_bytes}
        print_json({"sets": [_to_json(stored) for stored in sets], "spatial": told})
        return
    lines = _table(sets) if sets else [_no_set(shards)]
    if num_parts:
        lines += [
            "",
            f"{num_parts} spatial parts of runs, which recipes share: {size_text(num_bytes)}",
        ]
    print_text("\n".join(lines))


def prune_shards(
    budget_gib: Annotated[
        float, typer.Option(min=0.0, help="Size of all sets together that may stay, GiB.")
    ],
    shards: ShardsOption = Path("shards"),
    spatial_days: Annotated[
        float | None,
        typer.Option(min=0.0, help="Also remove spatial parts of runs unused for so many days."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove the sets used longest ago until the others fit a budget.

    Sets that running studies use stay. Sizes are in units of 1024: GiB, MiB, KiB.

    Example: spectrum shards prune --budget-gib 50
    """
    from spectrum.data.store import prune_sets, prune_spatial

    _check_budget(budget_gib)
    _check_folder(shards)
    pruned = prune_sets(shards, budget_bytes=int(budget_gib * GIB), by=PRUNE, dry_run=dry_run)
    num_parts, part_bytes = 0, 0
    if spatial_days is not None:
        unused_s = spatial_days * DAY_S
        num_parts, part_bytes = prune_spatial(shards, unused_s=unused_s, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "removed": [_to_json(stored) for stored in pruned.removed],
                "kept": [_to_json(stored) for stored in pruned.kept],
                "held": dict(pruned.held),
                "bytes_before": pruned.bytes_before,
                "bytes_after": pruned.bytes_after,
                "spatial": {"num_parts": num_parts, "num_bytes": part_bytes},
                "dry_run": dry_run,
            }
        )
        return
    verb = "would be removed" if dry_run else "removed"
    freed = pruned.bytes_before - pruned.bytes_after
    lines = [f"{len(pruned.removed)} sets {verb}, {size_text(freed)}; {len(pruned.kept)} stay."]
    if pruned.held:
        studies = ", ".join(sorted(set(pruned.held.values())))
        lines.append(f"{len(pruned.held)} of them are used by running studies: {studies}.")
    elif pruned.bytes_after > budget_gib * GIB:
        lines.append("What stays is above the budget: it was used in the last two minutes.")
    if spatial_days is not None:
        lines.append(f"{num_parts} spatial parts {verb}, {size_text(part_bytes)}.")
    print_text("\n".join([*lines, *(str(stored.path) for stored in pruned.removed)]))


def _check_budget(budget_gib: float) -> None:
    if not math.isfinite(budget_gib * GIB):
        raise ConfigError(
            f"--budget-gib {budget_gib:g} is no size. Give a finite number of GiB, such as 50."
        )


def _no_set(shards: Path) -> str:
    from spectrum.storage import address_of

    address = address_of(shards)
    if address is None:
        return f"{shards} holds no finished shard set."
    return f"This machine has fetched no shard set of {address}; its copies would lie in {shards}."


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
            size_text(stored.num_bytes),
            _ago(time.time() - stored.used_s),
        ]
        for stored in sets
    ]
    return aligned([head, *rows], num_words=2)


def _recipe_text(recipe: PreprocessingConfig | None) -> str:
    return "damaged" if recipe is None else recipe_words(recipe)


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"
