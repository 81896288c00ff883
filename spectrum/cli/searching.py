"""Command: search a space over data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.console import (
    end_with_refused,
    ending_politely,
    print_json,
    print_notes,
    print_text,
)
from spectrum.cli.live import live_search
from spectrum.cli.options import (
    AddressOption,
    AimOption,
    CpusOption,
    FreezeOption,
    InsecureOption,
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
from spectrum.cli.progress import busy, progress_bar
from spectrum.cli.summary import each_text, search_json, search_text
from spectrum.errors import ConfigError, SearchError, StorageError

if TYPE_CHECKING:
    from spectrum.search.result import StudyResult
    from spectrum.search.space import SearchSpace

__all__ = ["check_cluster_options", "check_each_in_folder", "register"]


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
    aim: AimOption = None,
    cpus: CpusOption = None,
    address: AddressOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search preprocessing and architecture with Ray Tune and Optuna; log to Aim; write a report.

    On a cluster, data, --shards and --studies lie on storage that every node sees.

    Example: spectrum search search_spaces/quickstart.yaml data/raw/ds0000* --trials 16

    Example: spectrum search search_spaces/joint.yaml data/raw/ds0000* --address auto
    """
    from spectrum.search.space import read_space_file
    from spectrum.tracking import told_repo

    decided = [*data_settings(tr_from, multi_echo, image_space), *sealed_settings(sealed)]
    reading = read_space_file(space, [*(settings or []), *decided], freeze or [])
    reading.check()
    parsed = reading.space
    if address is not None:
        check_cluster_options(address, cpus, dry_run=dry_run)
        # Elsewhere a relative path is another one.
        roots, shards, studies = (
            [r.absolute() for r in roots],
            shards.absolute(),
            studies.absolute(),
        )
    folder = studies / (name or parsed.name)
    asked = _Asked(
        roots=roots,
        shards=shards,
        studies=studies,
        trials=trials,
        fork=fork,
        aim=told_repo(aim) if aim else None,
        cpus=cpus,
        address=address,
        insecure=insecure,
        as_json=as_json,
    )
    searches = _searches(parsed, folder, asked, dry_run=dry_run, resume=resume)
    if dry_run:
        _print_plans(searches, asked, probes=not no_probe)
        print_notes(reading.notes)
        return
    told = [
        # Of several, those begin that a stop left no time for.
        _search_one(
            one,
            path,
            asked,
            resume=resume and (len(searches) == 1 or (path / "study.json").is_file()),
            is_alone=len(searches) == 1,
        )
        for one, path in searches
    ]
    if len(told) > 1 and not as_json:
        print_text(each_text(folder, [one for one, _ in told]))
    if as_json:
        print_json(told[0][0] if len(told) == 1 else {"searches": [one for one, _ in told]})
    print_notes((*reading.notes, *dict.fromkeys(n for _, r in told for n in r.notes)))
    end_with_refused([problem for _, result in told for problem in result.refused])


def check_cluster_options(address: str, cpus: int | None, *, dry_run: bool) -> None:
    """Refuse what a search that joins a cluster has no use for, and an address of no head."""
    from spectrum.launch import AUTO, check_head_address

    if cpus is not None:
        raise ConfigError(
            "--cpus says what a Ray that starts here gives out, and this search joins one that "
            "runs already. Leave --cpus away, or search on this machine alone."
        )
    if dry_run:
        raise ConfigError(
            "--dry-run joins no cluster and plans for this machine. Give it to spectrum search "
            "without --address, and with --cpus for what the cluster has."
        )
    if address != AUTO:
        check_head_address(address)


def check_each_in_folder(sealed: float | tuple[str, ...] | None, *, is_stored: bool) -> None:
    """Refuse studies in an object store for a search that seals each data set in turn."""
    if not is_stored:
        return
    from spectrum.search.sealed_each import EACH

    if sealed == EACH:
        raise SearchError(
            "--sealed each keeps what its searches have in common in a folder of studies of this "
            "machine. Give --studies a folder; --shards may be an address."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What one search, or several that seal each data set in turn, are asked for."""

    roots: Sequence[Path]
    shards: Path
    studies: Path
    trials: int | None
    fork: Path | None
    aim: str | None
    cpus: int | None
    address: str | None
    insecure: bool
    as_json: bool


def _searches(
    space: SearchSpace, folder: Path, asked: _Asked, *, dry_run: bool, resume: bool
) -> list[tuple[SearchSpace, Path]]:
    """Return the space and folder of each study that is to be run, in turn."""
    from spectrum.search.sealed_each import EACH, plan_each, read_each, write_each
    from spectrum.storage import address_of

    check_each_in_folder(space.study.sealed, is_stored=address_of(folder) is not None)
    if space.study.sealed != EACH:
        return [(space, folder)]
    group = plan_each(folder, space, asked.roots)
    if not dry_run:
        if read_each(folder) is not None and not resume:
            raise SearchError(
                f"{folder.name}.each.json exists already. Continue its studies with --resume, or "
                "give another --name."
            )
        write_each(group)
    return [(group.space_of(name, space), group.study(name)) for name in group.study_of]


def _print_plans(
    searches: Sequence[tuple[SearchSpace, Path]], asked: _Asked, *, probes: bool
) -> None:
    from spectrum.search.stored_plan import plan_storage

    with busy("Planning"):
        # Several seal each data set in turn, whose folder has no address.
        storage = plan_storage(asked.shards, searches[0][1])
        plans = [
            planned(
                space,
                asked.roots,
                shards_root=asked.shards,
                num_trials=asked.trials,
                cpus=asked.cpus,
                probes=probes,
            )
            | ({"storage": storage} if storage else {})
            for space, _ in searches
        ]
    if asked.as_json:
        print_json(plans[0] if len(plans) == 1 else {"plans": plans})
    else:
        print_text("\n\n".join(plan_text(plan) for plan in plans))
    for plan in plans:
        if plan["refusal"] is not None:
            raise SearchError(plan["refusal"])
    for place in storage:
        if place["problem"] is not None:
            raise StorageError(place["problem"])


def _search_one(
    space: SearchSpace, folder: Path, asked: _Asked, *, resume: bool, is_alone: bool
) -> tuple[dict[str, Any], StudyResult]:
    """Run one study, write its report, and print what it found unless JSON is asked for."""
    from spectrum.launch import ray_at
    from spectrum.report import write_report
    from spectrum.search.stored import push_study
    from spectrum.search.study import run_study
    from spectrum.storage import address_of
    from spectrum.tracking import AimTracker, show_study

    kept = (
        f"Shards that are made are kept in {asked.shards}, and trials in {folder}; the same "
        "command goes on from there, with --resume once study.json is written."
    )
    with (
        ending_politely(kept),
        ray_at(asked.address, num_cpus=asked.cpus, insecure=asked.insecure, kept=kept),
        live_search() as show,
    ):
        result = run_study(
            space,
            roots=asked.roots,
            shards_root=asked.shards,
            folder=folder,
            num_trials=asked.trials,
            make_tracker=lambda: AimTracker(asked.studies, study=folder.name, to=asked.aim),
            resume=resume,
            fork=asked.fork,
            on_status=show.on_status,
            on_step=show.on_step,
        )
    with progress_bar("Drawing", unit="figures") as on_figure_done:
        report = write_report(folder, shards_root=asked.shards, on_figure_done=on_figure_done)
    if address := address_of(folder):
        push_study(folder, address)
    shown = show_study(folder)
    told = search_json(result.to_json(), aim_repo=shown.repo, report=report)
    if not asked.as_json:
        print_text(search_text(told, is_alone=is_alone))
    print_notes([shown.note] if shown.note else [])
    return told, result
