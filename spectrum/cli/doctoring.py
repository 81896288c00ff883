"""Command: what this machine has, what is missing, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from spectrum.cli.console import print_json, print_text
from spectrum.cli.options import JsonOption, ShardsOption
from spectrum.cli.progress import busy

if TYPE_CHECKING:
    from spectrum.doctor import Finding

__all__ = ["register"]

MARKS: Final = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(doctor)


def doctor(
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to ask: host:6379, ray://host:10001, http://host:8265."),
    ] = None,
    shards: ShardsOption = Path("shards"),
    studies: Annotated[Path, typer.Option(help="Folder of the studies.")] = Path("studies"),
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = Path("data/raw"),
    as_json: JsonOption = False,
) -> None:
    """Look at GPU, libraries, memory, disk, limits, Ray and Aim, and say what to do.

    Starts and changes nothing. Exits with 1 where something will not work.

    Example: spectrum doctor --address http://localhost:8265
    """
    from spectrum.doctor import Questions, examine

    with busy("Looking"):
        findings = examine(Questions(shards=shards, studies=studies, data=data, address=address))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        print_text("\n".join(_lines(findings)))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{MARKS[finding.level]} {finding.code}: {finding.message}")
        if finding.remedy:
            lines.append(f"        -> {finding.remedy}")
    bad = [sum(finding.level == level for finding in findings) for level in ("error", "warning")]
    return [*lines, f"{bad[0]} errors, {bad[1]} warnings"]
