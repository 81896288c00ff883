"""Arguments and options that several commands take, written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "CpusOption",
    "JsonOption",
    "RootsArgument",
    "SetOption",
    "ShardsOption",
    "StudiesOption",
]

RootsArgument: TypeAlias = Annotated[
    list[Path], typer.Argument(help="Folders of BIDS data sets, raw or fMRIPrep derivatives.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout.")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value with a config path as key; may be given again."),
]
ShardsOption: TypeAlias = Annotated[
    Path, typer.Option("--shards", help="Folder that holds all shard sets.")
]
StudiesOption: TypeAlias = Annotated[
    Path, typer.Option("--studies", help="Folder that holds all studies and their Aim repository.")
]
CpusOption: TypeAlias = Annotated[
    int | None, typer.Option("--cpus", min=1, help="CPUs to use; all by default.")
]
