"""Commands for looking: report and the Aim UI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spectrum.cli.console import print_json, print_notes, print_text
from spectrum.cli.options import JsonOption, ShardsOption
from spectrum.cli.progress import progress_bar

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(report)
    app.command()(ui)


def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study.")],
    shards: ShardsOption = Path("shards"),
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a study's report: one HTML page and its figures.

    Example: spectrum report studies/quickstart
    """
    from spectrum.report import write_report

    with progress_bar("Drawing", unit="figures") as on_figure_done:
        page = write_report(study, shards_root=shards, on_figure_done=on_figure_done)
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    print_json({"report": str(page)}) if as_json else print_text(str(page))


def ui(
    studies: Annotated[Path, typer.Argument(help="Folder of the studies.")] = Path("studies"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 43800,
) -> None:
    """Bring the trials of these studies up to date, index them and open the Aim UI here alone.

    Example: spectrum ui studies
    """
    from spectrum.tracking import open_ui, show_behind

    print_notes(show_behind(studies))
    open_ui(studies, port=port)
