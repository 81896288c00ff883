"""Command: the main job, offline, on data with a planted truth."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

import typer

from spectrum.cli.console import print_json, print_text, say
from spectrum.cli.live import live_search
from spectrum.cli.options import CpusOption, JsonOption
from spectrum.cli.progress import progress_bar
from spectrum.cli.summary import search_json, search_text
from spectrum.errors import ConfigError

__all__ = ["register"]

OBJECT_STORE_GIB = 0.5
"""The demo's volumes fit many times; a small store keeps it within a laptop's memory."""

EFFECT_PERCENT = 6.0
"""Peak of the planted response: a strong one, many times a real response, which a small search
finds within minutes."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo; must not exist.")] = Path("demo"),
    truth: Annotated[
        Literal["effect", "null"], typer.Option(help="What is planted in the data.")
    ] = "effect",
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of the search.")] = None,
    subjects: Annotated[int, typer.Option(min=2, max=99, help="Subjects of each data set.")] = 4,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate data sets, prepare, search and report: the main job, offline, in minutes.

    Example: spectrum demo
    """
    from spectrum.data.simulate import SimulationConfig, simulate
    from spectrum.launch import local_ray
    from spectrum.report import write_report
    from spectrum.search.space import read_space
    from spectrum.search.study import run_study
    from spectrum.tracking import AimTracker, show_study

    if out.exists():
        raise ConfigError(f"{out} exists already. Remove it, or name another folder with --out.")
    say(f"1/3  Simulating four data sets in miniature, truth: {truth}")
    with progress_bar("Simulating", unit="runs") as on_progress:
        config = SimulationConfig(
            truth=truth, num_subjects=subjects, seed=seed, effect_percent=EFFECT_PERCENT
        )
        roots = simulate(out / "bids", config, on_run_done=on_progress)
    say("2/3  Searching preprocessing and architecture together")
    with as_file(files("spectrum.spaces") / "quickstart.yaml") as file:
        space = read_space(file)
    folder = out / "studies" / "demo"
    with local_ray(num_cpus=cpus, object_store_gib=OBJECT_STORE_GIB), live_search() as show:
        result = run_study(
            space,
            roots=roots,
            shards_root=out / "shards",
            folder=folder,
            num_trials=trials,
            make_tracker=lambda: AimTracker(out / "studies", study="demo"),
            on_status=show.on_status,
            on_step=show.on_step,
        )
    say("3/3  Writing the report")
    with progress_bar("Drawing", unit="figures") as on_figure_done:
        report = write_report(folder, shards_root=out / "shards", on_figure_done=on_figure_done)
    shown = show_study(folder)
    told = search_json(result.to_json(), aim_repo=shown.repo, report=report)
    print_json(told) if as_json else print_text(search_text(told))
