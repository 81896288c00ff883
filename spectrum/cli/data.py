"""Commands about data: inspect, prepare."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from spectrum.cli.console import (
    DONE_IN_PART,
    end_with_refused,
    ending_politely,
    print_json,
    print_notes,
    print_text,
    progress_bar,
)
from spectrum.cli.inspection import inspection_text
from spectrum.cli.options import (
    CpusOption,
    JsonOption,
    MultiEchoOption,
    RootsArgument,
    SetOption,
    ShardsOption,
    SpaceOption,
    TrFromOption,
    data_settings,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(inspect)
    app.command()(prepare)


def inspect(
    roots: RootsArgument,
    target: Annotated[str, typer.Option(help="Target name or file.")] = "early_late",
    images: Annotated[
        bool, typer.Option("--images", help="Read every image to its end and check its content.")
    ] = False,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the runs found, their classes under a target, and every problem.

    Example: spectrum inspect data/raw/ds000002 --target stage --images
    """
    from spectrum.config import TrialConfig, config_from_mapping, parse_settings, set_paths
    from spectrum.data.bids import index_bids, inspect_table
    from spectrum.targets import read_target

    chosen = read_target(target)
    decided = parse_settings(data_settings(tr_from, multi_echo, space))
    choices = config_from_mapping(TrialConfig, set_paths({}, decided)).data
    with progress_bar("Reading headers", unit="runs") as on_run_done:
        table = index_bids(roots, choices, on_run_done=on_run_done)
    if images:
        from spectrum.data.image_check import check_images

        with (
            ending_politely("Nothing was to be written."),
            progress_bar("Reading images", unit="runs") as on_run_done,
        ):
            table = check_images(table, num_processes=cpus, on_run_done=on_run_done)
    result = inspect_table(table, chosen)
    if as_json:
        print_json(result)
    else:
        print_text(inspection_text(result))
    if any(problem["refuses"] for problem in result["problems"]):
        raise typer.Exit(DONE_IN_PART)


def prepare(
    roots: RootsArgument,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file; its preprocessing part is the recipe.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Only runs that this target labels; all runs by default.")
    ] = None,
    settings: SetOption = None,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    space: SpaceOption = None,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try runs again that killed their workers before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Preprocess runs into Parquet shards with Ray Data.

    Example: spectrum prepare data/raw/ds000002 --set preprocessing.fwhm_mm=4

    A run that ends every worker that makes it (out of memory, or a fault in a library) is refused
    by name while all others are made. It is tried again when its file or the recipe changes, or
    with --retry.
    """
    from spectrum.config import (
        TrialConfig,
        config_from_mapping,
        parse_settings,
        read_yaml,
        set_paths,
    )
    from spectrum.data.bids import index_bids
    from spectrum.data.pipeline import Making, find_shards
    from spectrum.data.pipeline import prepare as make_shards
    from spectrum.launch import local_ray
    from spectrum.targets import read_target

    decided = [*(settings or []), *data_settings(tr_from, multi_echo, space)]
    mapping = set_paths(read_yaml(config) if config else {}, parse_settings(decided))
    wanted = config_from_mapping(TrialConfig, mapping)
    recipe = wanted.preprocessing
    table = index_bids(roots, wanted.data)
    chosen = read_target(target) if target else None
    is_made = find_shards(table, recipe, shards, chosen, retry=retry) is not None
    kept = f"Finished runs are kept in {shards}; the same command goes on from there."
    with (
        ending_politely(kept),
        nullcontext() if is_made else local_ray(num_cpus=cpus),
        ending_politely(kept),
        progress_bar("Preparing", unit="runs") as on_run_done,
    ):
        result = make_shards(
            table,
            recipe,
            shards_root=shards,
            target=chosen,
            on_run_done=on_run_done,
            how=Making(retry=retry),
        )
        on_run_done(result.num_runs, result.num_runs)
    if as_json:
        print_json(asdict(result))
    else:
        print_text(f"{result.num_runs} runs, {result.num_volumes} volumes: {result.shards}")
    print_notes(dict.fromkeys((*table.notes, *result.notes)))
    end_with_refused([asdict(problem) for problem in (*table.refused_files, *result.refused)])
