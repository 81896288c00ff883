"""Command: simulate BIDS trees with a planted truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spectrum.cli.console import print_json, print_text, progress_bar
from spectrum.cli.options import JsonOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(simulate)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder that the BIDS trees are written to.")],
    truth: Annotated[
        Literal["effect", "null"], typer.Option(help="What is planted in the deep regions.")
    ] = "effect",
    subjects: Annotated[int, typer.Option(min=1, max=99, help="Subjects of each data set.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write the four data sets in miniature, with a planted truth.

    Example: spectrum simulate simulated --truth effect --subjects 4
    """
    from spectrum.data.simulate import SimulationConfig
    from spectrum.data.simulate import simulate as write_trees

    config = SimulationConfig(truth=truth, num_subjects=subjects, seed=seed)
    with progress_bar("Simulating", unit="runs") as on_run_done:
        roots = write_trees(out, config, on_run_done=on_run_done)
    if as_json:
        print_json({"roots": [str(root) for root in roots], "truth": truth, "seed": seed})
        return
    print_text("\n".join(str(root) for root in roots))
