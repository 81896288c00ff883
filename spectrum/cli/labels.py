"""Command: list the targets, show one whole, and count its classes in BIDS trees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectrum.cli.console import end_with_refused, print_json, print_text
from spectrum.cli.label_text import counts_text, list_text, target_text
from spectrum.cli.options import JsonOption
from spectrum.errors import ConfigError

if TYPE_CHECKING:
    from spectrum.targets import Target

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(targets)


def targets(
    target: Annotated[
        str | None, typer.Argument(help="Target name or file; all that are shipped by default.")
    ] = None,
    roots: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of BIDS data sets to count the target's classes in."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of target files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the targets, show one with the source of every row, or count its classes.

    Example: spectrum targets early_late data/raw/ds000002 data/raw/ds000052
    """
    from spectrum.targets import read_target, shipped_targets

    if schema:
        _print_schema(target, as_json=as_json)
    elif target is None:
        _print_list([read_target(name) for name in shipped_targets()], as_json=as_json)
    elif not roots:
        _print_target(read_target(target), as_json=as_json)
    else:
        _print_counts(read_target(target), roots, as_json=as_json)


def _print_schema(target: str | None, *, as_json: bool) -> None:
    import json

    from spectrum.targets import target_schema

    if target is not None:
        raise ConfigError(
            f"--schema was given with {target}. It prints the schema of all target files; "
            "say `spectrum targets --schema`."
        )
    if as_json:
        print_json(target_schema())
    else:
        print_text(json.dumps(target_schema(), indent=2))


def _print_list(shipped: list[Target], *, as_json: bool) -> None:
    if as_json:
        print_json({target.name: _facts(target) for target in shipped})
    else:
        print_text(list_text(shipped))


def _print_target(target: Target, *, as_json: bool) -> None:
    if as_json:
        print_json(_whole(target))
    else:
        print_text(target_text(target))


def _print_counts(target: Target, roots: list[Path], *, as_json: bool) -> None:
    from spectrum.data.bids import index_bids
    from spectrum.data.labelling import label_table

    found = label_table(index_bids(roots), target)
    if as_json:
        print_json({**_whole(target), "counts": found})
    else:
        print_text(counts_text(target, found))
    end_with_refused(found["refused"])


def _facts(target: Target) -> dict[str, Any]:
    return {
        "kind": target.kind,
        "classes": target.classes,
        "paired": target.paired,
        "confounded_with": target.confounded_with,
        "description": target.description,
        "num_rules": len(target.rules),
        "num_excluded": len(target.excluded),
    }


def _whole(target: Target) -> dict[str, Any]:
    return {"kind": target.kind, **target.model_dump(mode="json", by_alias=True)}
