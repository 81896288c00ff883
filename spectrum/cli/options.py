"""Arguments and options that several commands take, written once.

``--quiet`` and ``--log-level`` are of the program, and every command takes them: they may stand
anywhere on the line (``global_first``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import typer

__all__ = [
    "GLOBAL_HELP",
    "AddressOption",
    "AimOption",
    "CpusOption",
    "FreezeOption",
    "InsecureOption",
    "JsonOption",
    "LogLevelOption",
    "MultiEchoOption",
    "QuietOption",
    "RootsArgument",
    "SealedOption",
    "SetOption",
    "ShardsOption",
    "SpaceOption",
    "StudiesOption",
    "TrFromOption",
    "data_settings",
    "global_first",
    "sealed_settings",
]

RootsArgument: TypeAlias = Annotated[
    list[Path], typer.Argument(help="Folders of BIDS data sets, raw or fMRIPrep derivatives.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout.")
]
SealedOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Data set that the search never sees, or the fraction of subjects, or each: one "
        "search for each data set held out. spectrum unseal scores on it once. May be repeated.",
    ),
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value with a config path as key; may be given again."),
]
FreezeOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        help="key=value that fixes a searched parameter to one of its values; may be given again.",
    ),
]
ShardsOption: TypeAlias = Annotated[
    Path, typer.Option("--shards", help="Folder that holds all shard sets.")
]
StudiesOption: TypeAlias = Annotated[
    Path, typer.Option("--studies", help="Folder that holds all studies and their Aim repository.")
]
AddressOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster to run on, HOST:PORT of its head, or auto: that of RAY_ADDRESS, of "
        "spectrum cluster up, or of this machine. Without it Ray starts here."
    ),
]
InsecureOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Take a cluster that demands no token: whoever reaches its ports can run code there "
        "as its user, and read and change shards, studies and models.",
    ),
]
AimOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--aim",
        help="Another Aim repository: its folder, or aim://HOST:PORT of an aim server. It is kept "
        "for later commands; without it, the folder of the studies.",
    ),
]
CpusOption: TypeAlias = Annotated[
    int | None, typer.Option("--cpus", min=1, help="CPUs to use; all by default.")
]

TrFromOption: TypeAlias = Annotated[
    Literal["header", "sidecar"] | None,
    typer.Option(help="Whose TR counts where an image's header and its sidecar differ."),
]
MultiEchoOption: TypeAlias = Annotated[
    Literal["combine"] | None,
    typer.Option(help="Combine the echoes of a run; without it such runs are refused."),
]
SpaceOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--space", help="Space of derivatives, as in space-<label>, or native."),
]

QuietOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="No progress and no notes; errors and refused inputs are told."
    ),
]
LogLevelOption: TypeAlias = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(
        "--log-level",
        help="Log on stderr from this level on, with times; debug lets Ray's workers speak too.",
    ),
]
GLOBAL_HELP: Final = (
    "Every command takes --quiet (-q) and --log-level LEVEL, anywhere on its line. Progress is a "
    "bar on a terminal and a line each half a minute elsewhere; NO_COLOR=1 takes its colours away."
)


def global_first(arguments: Sequence[str]) -> list[str]:
    """Return a command line with what every command takes moved before the command's name."""
    first: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--":
            rest += [word, *left]
            break
        if word in ("--quiet", "-q") or word.startswith("--log-level="):
            first.append(word)
        elif word == "--log-level":
            first += [word, *left[:1]]
            left = left[1:]
        else:
            rest.append(word)
    return [*first, *rest]


def data_settings(tr_from: str | None, multi_echo: str | None, space: str | None) -> list[str]:
    """Return what the options decide, as ``key=value`` settings."""
    decided = {"data.tr_from": tr_from, "data.multi_echo": multi_echo, "data.space": space}
    return [f"{path}={value}" for path, value in decided.items() if value is not None]


def sealed_settings(sealed: list[str] | None) -> list[str]:
    """Return what ``--sealed`` asks for as ``key=value`` settings."""
    return [f"study.sealed=[{', '.join(sealed)}]"] if sealed else []
