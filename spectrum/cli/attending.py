"""Command: maps of what a model's classes rest on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spectrum.cli.console import print_json, print_notes, print_text
from spectrum.cli.options import JsonOption, ShardsOption
from spectrum.cli.progress import busy, steps_bar
from spectrum.cli.tables import aligned

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(attention)


def attention(
    source: Annotated[
        Path, typer.Argument(help="Folder of a study, of a finished spectrum train, or a model.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="New folder of the maps; SOURCE/attention by default.")
    ] = None,
    method: Annotated[
        Literal["rollout", "gradients", "both"],
        typer.Option(help="Gradient-weighted attention rollout, integrated gradients, or both."),
    ] = "both",
    sequences: Annotated[
        int, typer.Option(min=1, help="Sequences of each run or event that are explained.")
    ] = 4,
    region: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=MASK.nii.gz, where a class should show; may be given again."),
    ] = None,
    shards: ShardsOption = Path("shards"),
    as_json: JsonOption = False,
) -> None:
    """Map which voxels each class rests on, in runs that the folds held out, and check the maps.

    Checks: taking away what a map names (against random order), weights that learned nothing, and
    with --region the voxels of a region. NIfTI maps, peaks and a figure are written.

    Example: spectrum attention studies/quickstart
    """
    from spectrum.model.attention_maps import METHODS
    from spectrum.report.attention import write_attention_figure
    from spectrum.search.explaining import ExplainOptions, explain_source

    folder = source / "attention" if out is None else out
    options = ExplainOptions(
        methods=METHODS if method == "both" else (method,),
        sequences_per_unit=sequences,
        regions=_regions(region or []),
    )
    with steps_bar() as show:
        told = explain_source(
            source,
            [shards],
            folder,
            options=options,
            on_done=lambda what, done, total: show(f"Explaining sequences, {what}", done, total),
        )
    with busy("Drawing maps"):
        figures = write_attention_figure(folder)
    if as_json:
        paths = [str(path) for path in figures]
        print_json({"attention": str(folder), "figures": paths, **told})
        return
    print_text("\n".join([str(folder), *_table(told)]))
    print_notes([told["space_told"]])


def _regions(given: Sequence[str]) -> dict[str, Path]:
    """Return the mask of each class; without a class it is of all."""
    split = [text.rpartition("=") for text in given]
    return {name: Path(path) for name, _, path in split}


def _table(told: Mapping[str, Any]) -> list[str]:
    rows = [["method", "deletion", "insertion", "fresh weights", "region"]]
    for method, checks in told["methods"].items():
        faithful, fresh = checks["faithfulness"], checks["randomised"]
        regions = checks["region"] or {}
        rows.append(
            [
                method,
                f"{faithful['deletion']:.3f} (random {faithful['deletion_random']:.3f})",
                f"{faithful['insertion']:.3f} (random {faithful['insertion_random']:.3f})",
                f"|rho| {fresh['rank_correlation']:.2f}",
                ", ".join(f"{name} {found['auc']:.2f}" for name, found in regions.items()) or "-",
            ]
        )
    return aligned(rows, num_words=1)
