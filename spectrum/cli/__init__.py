"""The command line: parse, call, print. Nothing is computed here."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
import typer.core

from spectrum import __version__
from spectrum.cli import (
    attending,
    auditing,
    clustering,
    configs,
    data,
    demo,
    doctoring,
    downloading,
    evaluating,
    labels,
    predicting,
    searching,
    seeing,
    serving,
    shards,
    simulating,
    studying,
    submitting,
    training,
    unsealing,
)
from spectrum.cli.console import ending_politely, notes, set_quiet
from spectrum.cli.options import GLOBAL_HELP, LogLevelOption, QuietOption, global_first
from spectrum.cli.stored import stored_words, with_addresses
from spectrum.errors import SpectrumError

__all__ = ["app", "main"]


class _Commands(typer.core.TyperGroup):
    """All commands: what each takes, and how each ends that says nothing of it itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for command in _commands_of(self):
            command.epilog = GLOBAL_HELP

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the options of the program from anywhere on the line."""
        return super().parse_args(ctx, global_first(args))

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Ctrl-C, or a polite request to end, ends it with a word."""
        with ending_politely():
            return super().invoke(ctx)


def _commands_of(group: Any) -> Iterator[Any]:
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from _commands_of(command)


app = typer.Typer(
    cls=_Commands,
    name="spectrum",
    help="Search fMRI preprocessing and Vision Transformers together, with honest numbers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=GLOBAL_HELP,
)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

ROOMS = (
    demo,
    downloading,
    simulating,
    data,
    shards,
    labels,
    auditing,
    training,
    searching,
    clustering,
    submitting,
    unsealing,
    studying,
    predicting,
    evaluating,
    serving,
    attending,
    seeing,
    configs,
    doctoring,
)
"""In the order of the help."""

for room in ROOMS:
    room.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"spectrum {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
    quiet: QuietOption = False,
    log_level: LogLevelOption = None,
) -> None:
    """Spectrum: from raw BIDS to an answer that can be published."""
    set_quiet(quiet)
    if log_level is not None:
        logging.basicConfig(level=log_level.upper(), format=LOG_FORMAT)
        logging.getLogger().setLevel(log_level.upper())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake becomes one sentence and an exit code."""
    _write_any_name()
    try:
        with stored_words(sys.argv[1:] if arguments is None else arguments) as words:
            app(args=words)
    except SpectrumError as err:
        notes.print(f"spectrum: {with_addresses(str(err))}", markup=False, soft_wrap=True)
        sys.exit(err.exit_code)


def _write_any_name() -> None:
    """Let stdout write file names that are no text in its encoding, as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
