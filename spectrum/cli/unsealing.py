"""Command: open the seal of a study, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from spectrum.cli.console import end_with_refused, print_json, print_notes, print_text
from spectrum.cli.options import CpusOption, JsonOption, RootsArgument, ShardsOption
from spectrum.cli.progress import steps_bar
from spectrum.cli.tables import ladder_lines, with_interval

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

    Of a search with --sealed each, NAME opens all studies and scores all subjects together.

    Example: spectrum unseal studies/joint data/raw/ds0000*
    """
    from spectrum.launch import local_ray
    from spectrum.search.openings import opening_json
    from spectrum.search.sealed_each import read_each, unseal_each
    from spectrum.search.unsealing import unseal_study
    from spectrum.search.view import view_study

    group = read_each(study)
    if group is None:
        # What is wrong with a study is told before Ray begins, which takes seconds.
        view_study(study)
    with local_ray(num_cpus=cpus), steps_bar() as show:
        if group is not None:
            line = unseal_each(group, roots, shards_root=shards, again=again, on_step=show)
        else:
            found = unseal_study(study, roots, shards_root=shards, again=again, on_step=show)
    if group is not None:
        told = opening_json(line, study)
        print_json(told) if as_json else print_text(_text_of_each(told))
        return
    told = found.to_json()
    print_json(told) if as_json else print_text(_text(told))
    print_notes(found.notes)
    end_with_refused(found.refused)


def _text_of_each(told: Mapping[str, Any]) -> str:
    """Write the score pooled over all people, and that of each data set below it."""
    rows = [
        f"  {dataset:12} {with_interval(one)}  floor {one['floor']:.3f}  p {one['p']:.4f}  trial "
        f"{one['trial']}. {one['power']}"
        for dataset, one in told["studies"].items()
    ]
    return "\n".join([*_lines(told), "each data set alone:", *rows])


def _text(told: Mapping[str, Any]) -> str:
    selected = (
        f"{told['trial']}, selected from {told['num_trials']} trials and {told['num_reruns']} "
        "re-runs that never saw these subjects"
    )
    return "\n".join(
        [
            *_lines(told),
            *ladder_lines(told["ladder"], "in the search's folds, not on these subjects"),
            f"trial    {selected}",
            f"weights: {told['study']}/{told['weights']}",
        ]
    )


def _lines(told: Mapping[str, Any]) -> list[str]:
    looks = told["num_looks"]
    corrected = f", {told['p_corrected']:.4f} after {looks} looks" if looks > 1 else ""
    low, high = told["comparison"]["ci95"]
    positive = "positive" if told["finding"]["is_positive"] else "not positive"
    return [
        f"sealed   {with_interval(told)}  {told['num_subjects']} subjects, look {looks}",
        f"floor    {with_interval(told['floor'])}  acquisition numbers only, same two sides",
        f"above    {told['comparison']['difference']:+.3f}  [{low:+.3f}, {high:+.3f}]  paired "
        f"p {told['comparison']['p']:.4f}",
        f"p        {told['p']:.4f}{corrected}  {told['test']}",
        f"chance   {told['chance']:.3f}",
        f"finding  {positive}: {'; '.join(told['finding']['reasons'])}",
        f"power    {told['power']['told']}",
    ]
