"""Commands about data: inspect, prepare."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from spectrum.cli.console import end_with_refused, print_json, print_text, progress_bar
from spectrum.cli.options import CpusOption, JsonOption, RootsArgument, SetOption, ShardsOption

__all__ = ["register"]

MAX_PROBLEMS_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(inspect)
    app.command()(prepare)


def inspect(
    roots: RootsArgument,
    target: Annotated[str, typer.Option(help="Target name or file.")] = "early_late",
    as_json: JsonOption = False,
) -> None:
    """Show the runs found, their classes under a target, and every problem.

    Example: spectrum inspect data/raw/ds000002 --target stage
    """
    from spectrum.data.bids import index_bids, inspect_table
    from spectrum.targets import read_target

    chosen = read_target(target)
    result = inspect_table(index_bids(roots), chosen)
    if as_json:
        print_json(result)
        return
    print_text(_inspect_text(result, target))


def _inspect_text(result: Mapping[str, Any], target: str) -> str:
    lines = [f"{result['num_runs']} runs"]
    lines += [f"  {name}: {number} runs" for name, number in result["datasets"].items()]
    lines += [f"classes under {target}"]
    lines += [f"  {name}: {number}" for name, number in result["classes"].items()]
    lines += [f"  no class: {result['unlabelled']}"]
    problems = result["problems"]
    lines += [f"{len(problems)} problems"]
    lines += [f"  {p['code']}: {p['message']}" for p in problems[:MAX_PROBLEMS_SHOWN]]
    if len(problems) > MAX_PROBLEMS_SHOWN:
        lines += [f"  ... and {len(problems) - MAX_PROBLEMS_SHOWN} more; --json lists all"]
    return "\n".join(lines)


def prepare(
    roots: RootsArgument,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; its preprocessing part is the recipe.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Only runs that this target labels; all runs by default.")
    ] = None,
    settings: SetOption = None,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Preprocess runs into Parquet shards with Ray Data.

    Example: spectrum prepare data/raw/ds000002 --set preprocessing.fwhm_mm=4
    """
    from spectrum.config import (
        TrialConfig,
        config_from_mapping,
        parse_settings,
        read_yaml,
        set_paths,
    )
    from spectrum.data.bids import index_bids
    from spectrum.data.pipeline import find_shards
    from spectrum.data.pipeline import prepare as make_shards
    from spectrum.launch import local_ray
    from spectrum.targets import read_target

    mapping = set_paths(read_yaml(config) if config else {}, parse_settings(settings or []))
    recipe = config_from_mapping(TrialConfig, mapping).preprocessing
    table = index_bids(roots)
    chosen = read_target(target) if target else None
    is_made = find_shards(table, recipe, shards, chosen) is not None
    with (
        nullcontext() if is_made else local_ray(num_cpus=cpus),
        progress_bar("Preparing", unit="runs") as on_run_done,
    ):
        result = make_shards(
            table, recipe, shards_root=shards, target=chosen, on_run_done=on_run_done
        )
        on_run_done(result.num_runs, result.num_runs)
    if as_json:
        print_json(asdict(result))
    else:
        print_text(f"{result.num_runs} runs, {result.num_volumes} volumes: {result.shards}")
    end_with_refused([asdict(problem) for problem in result.refused])
