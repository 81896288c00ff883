"""Command: download OpenNeuro data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.console import (
    end_with_refused,
    ending_politely,
    notes,
    print_json,
    print_notes,
    print_text,
)
from spectrum.cli.options import JsonOption
from spectrum.cli.progress import busy, bytes_bar
from spectrum.data.describing import size_text
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from spectrum.data.download import DownloadRequest

__all__ = ["register"]

WRONG_USAGE = 2
MAX_UNVERIFIED_SHOWN = 5
MAX_ALIKE_SHOWN = 5
"""Refused files that are each told although all are refused for one reason."""

Words = list[str] | None


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(download)


def download(
    datasets: Annotated[
        Words, typer.Argument(help="OpenNeuro accessions; without one the known ones are listed.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that holds one folder per data set.")] = Path(
        "data/raw"
    ),
    subject: Annotated[Words, typer.Option(help="Only this subject; may be given again.")] = None,
    session: Annotated[Words, typer.Option(help="Only this session; may be given again.")] = None,
    task: Annotated[Words, typer.Option(help="Only this task; may be given again.")] = None,
    run: Annotated[Words, typer.Option(help="Only this run; 1 is also 01.")] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Also anatomy, derivatives and all else.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Connections at once.")] = 8,
    force: Annotated[
        bool, typer.Option("--force", help="Fetch again, and replace once verified.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check what is there; fetch nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell files, bytes and free disk space.")
    ] = False,
    endpoint_url: Annotated[
        str | None, typer.Option(help="A mirror of the bucket; Amazon's own by default.")
    ] = None,
    snapshots_url: Annotated[
        str | None,
        typer.Option(help="Listing that tells digests; OpenNeuro's own, and none for a mirror."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch OpenNeuro data sets: every file verified, interruptions resumed, no login.

    Sizes are in units of 1024: GiB, MiB, KiB.

    Example: spectrum download ds000002 ds000052 --subject 01 --subject 02
    """
    from spectrum.config import config_from_mapping
    from spectrum.data.download import DownloadRequest

    if not datasets:
        _end_with_known(as_json)
    _check_verify(verify, {"--dry-run": dry_run, "--force": force})
    entities = {"subject": subject, "session": session, "task": task, "run": run}
    filters = {name: tuple(words or ()) for name, words in entities.items()}
    wanted = {
        "datasets": tuple(datasets or ()),
        "out": out,
        "filters": {**filters, "everything": everything},
        "endpoint_url": endpoint_url,
        "snapshots_url": snapshots_url,
        "force": force,
        "fetch": {"workers": workers},
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    request = config_from_mapping(DownloadRequest, given)
    if dry_run:
        _plan(request, as_json)
    else:
        _fetch_or_verify(request, verify, as_json)


def _check_verify(is_verify: bool, others: dict[str, bool]) -> None:
    """Refuse an option that a check would have to ignore."""
    for name, is_given in others.items():
        if is_verify and is_given:
            raise ConfigError(
                f"--verify and {name} were given together; --verify only checks what is there. "
                "Give one of them."
            )


def _end_with_known(as_json: bool) -> None:
    """List what can be fetched by name; nothing was fetched, so a script must not go on."""
    from spectrum.data.download import KNOWN_DATASETS

    rows = [
        {
            "dataset": known.name,
            "title": known.title,
            "num_subjects": known.num_subjects,
            "num_bold": len(known.bold),
            "bold_bytes": sum(file.num_bytes for file in known.bold),
        }
        for known in KNOWN_DATASETS
    ]
    if as_json:
        print_json({"known": rows})
    else:
        print_text("\n".join([*map(_known_line, rows), "", *KNOWN_HELP]))
    notes.print("spectrum: no data set was named, so nothing is fetched.", markup=False)
    raise typer.Exit(WRONG_USAGE)


KNOWN_HELP = (
    "fetch:      spectrum download ds000002 ds000011 ds000017 ds000052",
    "or a part:  spectrum download ds000002 --subject 01 --task probabilisticclassification",
    "or another: spectrum download ds000114 (any OpenNeuro accession)",
)


def _known_line(row: dict[str, Any]) -> str:
    return (
        f"{row['dataset']}  {size_text(row['bold_bytes']):>9}  {row['num_bold']:3d} BOLD files  "
        f"{row['num_subjects']:2d} subjects  {row['title']}"
    )


def _plan(request: DownloadRequest, as_json: bool) -> None:
    from spectrum.data.download import World, plan_download

    with busy("Listing"):
        planned = plan_download(request, world=World())
    told = planned.as_json(request)
    if as_json:
        print_json(told)
    else:
        lines = [
            f"{plan.dataset}: {len(plan.files)} files, {size_text(plan.num_bytes)}"
            for plan in planned.plans
        ]
        free, wanted = told["free_bytes"], told["wanted_bytes"]
        lines += [f"still to fetch: {size_text(wanted)}; free on the disk: {size_text(free)}"]
        print_text("\n".join(lines))
        print_notes(told["notes"])
    end_with_refused(told["refused"])


def _fetch_or_verify(request: DownloadRequest, is_verify: bool, as_json: bool) -> None:
    from spectrum.data.download import World, download, verify

    act, title = (verify, "Verifying") if is_verify else (download, "Downloading")
    with ending_politely(_how_to_go_on(request, is_verify)), bytes_bar(title) as on_progress:
        result = act(request, world=World(), on_progress=on_progress)
    told = result.as_json()
    if as_json:
        print_json(told)
    else:
        print_text(_summary(told, is_verify))
    print_notes(told["notes"])
    end_with_refused(_told_once(told["refused"], told["num_files"]))


def _told_once(refused: list[dict[str, Any]], num_right: int) -> list[dict[str, Any]]:
    """Tell once what became of every file alike; JSON still names each one."""
    is_alike = len({problem["code"] for problem in refused}) == 1
    if num_right or not is_alike or len(refused) <= MAX_ALIKE_SHOWN:
        return refused
    message = f"{refused[0]['message']} So it is with all {len(refused)} files; --json names them."
    return [{**refused[0], "message": message}]


def _how_to_go_on(request: DownloadRequest, is_verify: bool) -> str:
    if is_verify:
        return ""
    return f"What has arrived is kept in {request.out}; the same command goes on from there."


def _summary(told: dict[str, Any], is_verify: bool) -> str:
    done = "are there and right" if is_verify else f"{size_text(told['fetched_bytes'])} fetched"
    lines = [
        f"{told['num_files']} files, {size_text(told['num_bytes'])}; {done} "
        f"in {told['seconds']:.0f} s"
    ]
    lines += [
        f"  {number} held against {KINDS[kind]}" for kind, number in told["verified_by"].items()
    ]
    unverified = told["unverified"]
    if unverified:
        lines += [f"  {len(unverified)} unverified: nothing is known to hold them against"]
        lines += [f"    {path}" for path in unverified[:MAX_UNVERIFIED_SHOWN]]
        lines += ["    ..."] if len(unverified) > MAX_UNVERIFIED_SHOWN else []
    if not is_verify and told["num_files"]:
        lines += ["next:", f"  spectrum inspect {' '.join(told['roots'])}"]
    return "\n".join(lines)


KINDS = {
    "md5": "the published MD5",
    "sha256": "the published SHA-256",
    "git-sha1": "the published git digest",
    "etag": "the bucket's own ETag (proves the transfer, not the upload)",
}
