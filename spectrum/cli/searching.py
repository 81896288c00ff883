"""Command: search a space over data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spectrum.cli.console import (
    end_with_refused,
    print_json,
    print_notes,
    print_text,
)
from spectrum.cli.live import live_table
from spectrum.cli.options import (
    CpusOption,
    JsonOption,
    MultiEchoOption,
    RootsArgument,
    SetOption,
    ShardsOption,
    SpaceOption,
    StudiesOption,
    TrFromOption,
    data_settings,
)
from spectrum.cli.summary import search_json, search_text

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(search)


def search(
    space: Annotated[Path, typer.Argument(help="Search-space file.")],
    roots: RootsArgument,
    name: Annotated[
        str | None, typer.Option(help="Name of the study; the space's by default.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials; the space's by default.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue the study of this name.")] = False,
    fork: Annotated[
        Path | None,
        typer.Option(help="Study whose finished trials this new one begins from."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the plan and start nothing.")] = False,
    settings: SetOption = None,
    tr_from: TrFromOption = None,
    multi_echo: MultiEchoOption = None,
    image_space: SpaceOption = None,
    shards: ShardsOption = Path("shards"),
    studies: StudiesOption = Path("studies"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search preprocessing and architecture with Ray Tune and Optuna; log to Aim; write a report.

    Example: spectrum search search_spaces/quickstart.yaml data/raw/ds0000* --trials 16
    """
    from spectrum.launch import local_ray
    from spectrum.report import write_report
    from spectrum.search.space import read_space
    from spectrum.search.study import plan_study, run_study
    from spectrum.tracking import AimTracker

    decided = data_settings(tr_from, multi_echo, image_space)
    parsed = read_space(space, [*(settings or []), *decided])
    parsed.check()
    folder = studies / (name or parsed.name)
    if dry_run:
        plan = plan_study(parsed, roots=roots, shards_root=shards, num_trials=trials)
        print_json(plan) if as_json else print_text(
            "\n".join(f"{k}: {v}" for k, v in plan.items())
        )
        return
    with local_ray(num_cpus=cpus), live_table() as on_status:
        result = run_study(
            parsed,
            roots=roots,
            shards_root=shards,
            folder=folder,
            num_trials=trials,
            make_tracker=lambda floor: AimTracker(studies, study=folder.name, floor=floor),
            resume=resume,
            fork=fork,
            on_status=on_status,
        )
    report = write_report(folder)
    told = search_json(result.to_json(), aim_repo=studies, report=report)
    print_json(told) if as_json else print_text(search_text(told))
    print_notes(result.notes)
    end_with_refused(result.refused)
