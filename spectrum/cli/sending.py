"""Whether a search finds what it is given where it is sent, as far as the folder sent along says.

Whole paths are the cluster's, of which nothing is known here. Not here: the sending
(``submitting``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from spectrum.cli import searching
from spectrum.cli.stored import WITH_SCHEME
from spectrum.errors import ConfigError

__all__ = ["check_sent"]

KEPT: Final = {
    "studies": "Give the whole path of a folder that every node sees, or the address of a store.",
    "shards": "Give the whole path of a folder that every node sees, or the address of a store.",
    "aim": "Give the whole path of a folder, or aim://HOST:PORT of an aim server.",
}
"""Options that name what outlives the job, and what each may be."""

ARCHIVE: Final = ".zip"


def check_sent(words: Sequence[str], sent: str | None) -> None:
    """Refuse a search that would not find its files where it is sent, or would lose what it made.

    Parameters
    ----------
    words : of spectrum search
    sent : folder that is sent along and becomes the job's own, or an archive of one, of which
        nothing is known here; None where none is
    """
    given = _parsed(words)
    for option, remedy in KEPT.items():
        if given[option] is not None and not _is_whole(given[option]):
            raise ConfigError(
                f"--{option} is {given[option]}, a relative path: it would be in the folder that "
                f"the job works in, which goes with the job. {remedy}"
            )
    read = [given["space"], *given["roots"], *([given["fork"]] if given["fork"] else [])]
    for path in read:
        if not _is_whole(path):
            _check_there(path, sent)


def _parsed(words: Sequence[str]) -> Mapping[str, Any]:
    """Return what the words say to the search of this version; wrong usage is told as its own."""
    alone = typer.Typer()
    searching.register(alone)
    command = typer.main.get_command(alone)
    return command.make_context("spectrum search", list(words)).params


def _is_whole(path: Path | str) -> bool:
    return os.path.isabs(path) or WITH_SCHEME.match(str(path)) is not None  # noqa: PTH117


def _check_there(path: Path, sent: str | None) -> None:
    if sent is None:
        raise ConfigError(
            f"{path} is a relative path, and no folder is sent that holds it. Send one with "
            "--working-dir, from which it is read, or give the whole path that it has on the "
            "cluster."
        )
    if "://" in sent or sent.endswith(ARCHIVE):
        return
    inside = os.path.normpath(path)
    if inside.startswith(os.pardir) or not (Path(sent) / inside).exists():
        raise ConfigError(
            f"{path} is a relative path, and {sent}, which is sent, holds no such file. Give it "
            f"as it is called in there{_instead(path, sent)}, or send another --working-dir."
        )


def _instead(path: Path, sent: str) -> str:
    """Return what was probably meant: the same file, but named from here."""
    named = os.path.relpath(path, sent)
    is_there = not named.startswith(os.pardir) and path.exists()
    return f" ({named})" if is_there else ""
