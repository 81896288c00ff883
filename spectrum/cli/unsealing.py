"""Command: open the seal of a study, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from spectrum.cli.console import (
    end_with_refused,
    print_json,
    print_notes,
    print_text,
    progress_bar,
)
from spectrum.cli.options import CpusOption, JsonOption, RootsArgument, ShardsOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(unseal)


def unseal(
    study: Annotated[Path, typer.Argument(help="Folder of a study that was begun with --sealed.")],
    roots: RootsArgument,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Look once more; it is noted, and p corrected for all looks."
        ),
    ] = False,
    shards: ShardsOption = Path("shards"),
    cpus: CpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score what a study selected on the people it never saw, once.

    The selected configuration is trained on everyone else, for the median of its folds' epochs. An
    opening that is cut short has counted; the same command finishes it.

    Example: spectrum unseal studies/joint data/raw/ds0000*
    """
    from spectrum.launch import local_ray
    from spectrum.search.unsealing import unseal_study

    with local_ray(num_cpus=cpus), progress_bar("Refitting", unit="epochs") as on_epoch:
        found = unseal_study(study, roots, shards_root=shards, again=again, on_epoch=on_epoch)
    told = found.to_json()
    print_json(told) if as_json else print_text(_text(told))
    print_notes(found.notes)
    end_with_refused(found.refused)


def _text(told: Mapping[str, Any]) -> str:
    corrected = f", {told['p_corrected']:.4f} after {told['look']} looks"
    low, high = told["comparison"]["ci95"]
    positive = "positive" if told["finding"]["is_positive"] else "not positive"
    return "\n".join(
        [
            f"sealed   {_score(told)}  {told['num_subjects']} subjects, look {told['look']}",
            f"floor    {_score(told['floor'])}  acquisition numbers only, same two sides",
            f"above    {told['comparison']['difference']:+.3f}  [{low:+.3f}, {high:+.3f}]  paired "
            f"p {told['comparison']['p']:.4f}",
            f"p        {told['p']:.4f}{corrected if told['look'] > 1 else ''}  {told['test']}",
            f"chance   {told['chance']:.3f}",
            f"trial    {told['trial']}, selected from {told['num_trials']} trials and "
            f"{told['num_reruns']} re-runs that never saw these subjects",
            f"finding  {positive}: {'; '.join(told['finding']['reasons'])}",
            f"power    {told['power']['told']}",
            f"weights: {told['study']}/{told['weights']}",
        ]
    )


def _score(told: Mapping[str, Any]) -> str:
    low, high = told["ci95"]
    return f"{told['score']:.3f}  [{low:.3f}, {high:.3f}]"
