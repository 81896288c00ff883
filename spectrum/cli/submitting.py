"""Commands that send a search to a cluster, and look after it there: submit, jobs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from spectrum.cli.console import print_json, print_text, say
from spectrum.cli.options import InsecureOption, JsonOption
from spectrum.cli.sending import check_sent
from spectrum.cli.tables import aligned
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from spectrum.launch import JobDoor

__all__ = ["register"]

DoorOption = Annotated[
    str,
    typer.Option(
        "--address",
        help="Dashboard of the cluster, http://HOST:8265, or auto: that of "
        "RAY_API_SERVER_ADDRESS, or of spectrum cluster up.",
    ),
]
JobArgument = Annotated[str, typer.Argument(help="Name of a job, as submit told it.")]

JOB: Final = "spectrum search"

OWN_FOLDER: Final = (
    'own=$(mktemp -d) && trap \'rm -rf "$own"\' EXIT && cp -R . "$own" && cd "$own" && '
)
"""A job works in a copy of what was sent: Ray was seen to remove its own while the job ran, where
two nodes of a machine share it."""


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    passing = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=passing)(submit)
    jobs_app = typer.Typer(help="Searches that were sent to a cluster.", no_args_is_help=True)
    jobs_app.command("list")(list_jobs)
    jobs_app.command("log")(show_log)
    jobs_app.command("stop")(stop_job)
    app.add_typer(jobs_app, name="jobs")


def submit(
    context: typer.Context,
    space: Annotated[
        str, typer.Argument(help="Search-space file; what follows is that of spectrum search.")
    ],
    address: DoorOption = "auto",
    working_dir: Annotated[
        Path | None,
        typer.Option(exists=True, help="Folder that is sent along, for the space file."),
    ] = None,
    runtime_env: Annotated[
        Path | None,
        typer.Option(help="YAML file with Ray's runtime environment; no place for secrets."),
    ] = None,
    leave: Annotated[
        bool, typer.Option("--leave", help="Do not wait for the job nor print its log.")
    ] = False,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a search as a job on a cluster, and print its log.

    Data, --shards and --studies are folders that every node of the cluster sees, by their whole
    paths; relative ones of space and data are those of the folder that is sent. Ctrl+C ends the
    printing, and leaves the job.

    Example: spectrum submit joint.yaml /data/ds000002 /data/ds000011 --studies /data/studies
    --shards /data/shards --working-dir search_spaces --address http://localhost:8265
    """
    from spectrum.launch import JobDoor

    environment = _environment(runtime_env)
    sent = working_dir or environment.get("working_dir")
    check_sent(
        [space, *context.args],
        None if sent is None else str(sent),
        excludes=environment.get("excludes") or (),
    )
    command = shlex.join([*JOB.split(), space, *context.args, "--address", "auto"])
    command += " --insecure" if insecure else ""
    door = JobDoor(address, insecure=insecure)
    folder = OWN_FOLDER if working_dir is not None else ""
    job = door.submit(folder + command, working_dir=working_dir, runtime_env=environment)
    say(f"Sent as {job}: {command}. spectrum jobs stop {job} ends it.")
    if not leave:
        _print_log(door, job)
    ended = door.job(job)
    if as_json:
        print_json(ended.to_json())
    elif leave:
        print_text(job)
    if not leave and ended.status != "SUCCEEDED":
        say(f"The job {job} ended as {ended.status}: {ended.message}")
        raise typer.Exit(ended.exit_code or 1)


def list_jobs(
    address: DoorOption = "auto", insecure: InsecureOption = False, as_json: JsonOption = False
) -> None:
    """List the jobs of a cluster, the newest first.

    Example: spectrum jobs list
    """
    from spectrum.launch import JobDoor

    jobs = JobDoor(address, insecure=insecure).jobs()
    if as_json:
        print_json({"jobs": [job.to_json() for job in jobs]})
    elif jobs:
        print_text(
            "\n".join(aligned([[job.job, job.status, job.command] for job in jobs], num_words=3))
        )
    else:
        print_text("No job was sent to this cluster.")


def show_log(
    job: JobArgument,
    address: DoorOption = "auto",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job is over.")] = False,
    insecure: InsecureOption = False,
) -> None:
    """Print what a job has printed.

    Example: spectrum jobs log raysubmit_x --follow
    """
    from spectrum.launch import JobDoor

    door = JobDoor(address, insecure=insecure)
    if follow:
        _print_log(door, job, file=sys.stdout)
    else:
        print_text(door.log(job))


def stop_job(
    job: JobArgument, address: DoorOption = "auto", insecure: InsecureOption = False
) -> None:
    """Ask a job to end; its study can be continued with --resume.

    Example: spectrum jobs stop raysubmit_x
    """
    from spectrum.launch import JobDoor

    JobDoor(address, insecure=insecure).stop(job)
    say(f"{job} was asked to end.")


def _print_log(door: JobDoor, job: str, file: Any = None) -> None:
    for text in door.follow(job):
        (file or sys.stderr).write(text)
        (file or sys.stderr).flush()


def _environment(path: Path | None) -> dict[str, Any]:
    import yaml

    if path is None:
        return {}
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as err:
        raise ConfigError(f"{path} cannot be read as YAML: {err}") from err
    if not isinstance(told, dict):
        raise ConfigError(
            f"{path} holds {type(told).__name__}, not the keys of a runtime environment such as "
            "env_vars and pip."
        )
    return told
