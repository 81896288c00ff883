"""Command: list the targets and say what they mean."""

from __future__ import annotations

import typer

from spectrum.cli.console import print_json, print_text
from spectrum.cli.options import JsonOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(targets)


def targets(as_json: JsonOption = False) -> None:
    """List the targets that come with Spectrum.

    Example: spectrum targets
    """
    from spectrum.targets import read_target, shipped_targets

    shipped = [read_target(name) for name in shipped_targets()]
    if as_json:
        print_json({t.name: {"classes": t.classes, "description": t.description} for t in shipped})
        return
    for target in shipped:
        print_text(f"{target.name}: {', '.join(target.classes)}\n    {target.description.strip()}")
