"""The command line: parse, call, print. Nothing is computed here."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any

import typer
import typer.core

from spectrum import __version__
from spectrum.cli import (
    attending,
    auditing,
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
    training,
    unsealing,
)
from spectrum.cli.console import INTERRUPTED, notes
from spectrum.errors import SpectrumError

__all__ = ["app", "main"]


class _Commands(typer.core.TyperGroup):
    """Ends on Ctrl-C with a word, where the command itself says nothing of what is kept."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            notes.print("spectrum: interrupted.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    name="spectrum",
    help="Search fMRI preprocessing and Vision Transformers together, with honest numbers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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
) -> None:
    """Spectrum: from raw BIDS to an answer that can be published."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake becomes one sentence and an exit code."""
    _write_any_name()
    try:
        app(args=list(arguments) if arguments is not None else None)
    except SpectrumError as err:
        notes.print(f"spectrum: {err}", markup=False, soft_wrap=True)
        sys.exit(err.exit_code)


def _write_any_name() -> None:
    """Let stdout write file names that are no text in its encoding, as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
