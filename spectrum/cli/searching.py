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
    FreezeOption,
    JsonOption,
    MultiEchoOption,
    RootsArgument,
    SealedOption,
    SetOption,
    ShardsOption,
    SpaceOption,
    StudiesOption,
    TrFromOption,
    data_settings,
    sealed_settings,
)
from spectrum.cli.planning import plan_text, planned
from spectrum.cli.summary import search_json, search_text
from spectrum.errors import SearchError

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
    dry_run: Annotated[
        bool,
        typer.Option(
            help="Print the plan, with shard sets, disk, models and time, and start nothing."
        ),
    ] = False,
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="With --dry-run: measure no time.")
    ] = False,
    fork: Annotated[
        Path | None,
        typer.Option(help="Study whose finished trials this new one begins from."),
    ] = None,
    sealed: SealedOption = None,
    settings: SetOption = None,
    freeze: FreezeOption = None,
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
    from spectrum.search.space import read_space_file
    from spectrum.search.study import run_study
    from spectrum.tracking import AimTracker

    decided = [*data_settings(tr_from, multi_echo, image_space), *sealed_settings(sealed)]
    reading = read_space_file(space, [*(settings or []), *decided], freeze or [])
    reading.check()
    parsed = reading.space
    folder = studies / (name or parsed.name)
    if dry_run:
        plan = planned(
            parsed, roots, shards_root=shards, num_trials=trials, cpus=cpus, probes=not no_probe
        )
        print_json(plan) if as_json else print_text(plan_text(plan))
        print_notes(reading.notes)
        if plan["refusal"] is not None:
            raise SearchError(plan["refusal"])
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
    report = write_report(folder, shards_root=shards)
    told = search_json(result.to_json(), aim_repo=studies, report=report)
    print_json(told) if as_json else print_text(search_text(told))
    print_notes((*reading.notes, *result.notes))
    end_with_refused(result.refused)
