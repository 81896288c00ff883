"""Commands about data: inspect, prepare."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spectrum.cli.console import (
    DONE_IN_PART,
    end_with_refused,
    ending_politely,
    print_json,
    print_notes,
    print_text,
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
from spectrum.cli.preparing import data_choices, index_trees, making_shards
from spectrum.cli.progress import progress_bar
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spectrum.data.pipeline import PrepareResult
    from spectrum.data.runs import RunTable
    from spectrum.targets import Target

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
    from spectrum.data.bids import inspect_table
    from spectrum.targets import read_target

    chosen = read_target(target)
    table = index_trees(roots, data_choices(tr_from, multi_echo, space))
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
    plot: Annotated[
        bool, typer.Option("--plot", help="Draw each run too: slices, motion, carpet, numbers.")
    ] = False,
    plots: Annotated[
        Path | None,
        typer.Option(help="Draw each run into this folder; --plot takes one beside the shards."),
    ] = None,
    cpus: CpusOption = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try runs again that killed their workers before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Preprocess runs into Parquet shards with Ray Data.

    Example: spectrum prepare data/raw/ds000002 --set preprocessing.fwhm_mm=4 --plot

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
    from spectrum.data.pipeline import Making, find_shards
    from spectrum.data.pipeline import prepare as make_shards
    from spectrum.targets import read_target

    decided = [*(settings or []), *data_settings(tr_from, multi_echo, space)]
    mapping = set_paths(read_yaml(config) if config else {}, parse_settings(decided))
    wanted = config_from_mapping(TrialConfig, mapping)
    recipe = wanted.preprocessing
    _check_folders({"--plots": plots, "--shards": shards})
    table = index_trees(roots, wanted.data)
    chosen = read_target(target) if target else None
    is_made = find_shards(table, recipe, shards, chosen, retry=retry) is not None
    with making_shards(shards, is_made=is_made, cpus=cpus) as on_run_done:
        result = make_shards(
            table,
            recipe,
            shards_root=shards,
            target=chosen,
            on_run_done=on_run_done,
            how=Making(retry=retry),
        )
        on_run_done(result.num_runs, result.num_runs)
    told = asdict(result)
    if plot or plots is not None:
        told["plots"] = _draw_runs(table, result, chosen, plots)
    if as_json:
        print_json(told)
    else:
        print_text(f"{result.num_runs} runs, {result.num_volumes} volumes: {result.shards}")
        if "plots" in told:
            print_text(f"figures: {told['plots']}")
    print_notes(dict.fromkeys((*table.notes, *result.notes)))
    end_with_refused([asdict(problem) for problem in (*table.refused_files, *result.refused)])


def _check_folders(folders: Mapping[str, Path | None]) -> None:
    """Refuse a path that cannot become a folder before anything is made."""
    for option, folder in folders.items():
        upwards = (folder, *folder.parents) if folder else ()
        there = next((path for path in upwards if path.exists()), None)
        if there is not None and not there.is_dir():
            raise ConfigError(f"{option} {folder}: {there} is no folder. Give one, or a new one.")


def _draw_runs(
    table: RunTable, result: PrepareResult, target: Target | None, folder: Path | None
) -> Path:
    """Draw the runs of a set; return the page's path."""
    from spectrum.data.run_views import sources_of_table
    from spectrum.data.shards import ShardSet
    from spectrum.report.runs_page import write_run_plots

    found = ShardSet.open(result.shards)
    root = result.shards.parent
    sources = sources_of_table(table, found.manifest.recipe, root, target)
    place = folder or root / "plots" / found.manifest.fingerprint[:16]
    with progress_bar("Drawing", unit="runs") as on_run_done:
        return write_run_plots(found, sources, place, on_run_done=on_run_done)
