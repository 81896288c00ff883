"""Whether a search finds what it is given where it is sent, as far as the folder sent along says.

Whole paths are the cluster's, of which nothing is known here. Not here: the sending
(``submitting``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
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

PATTERN: Final = re.compile(r"[*?\[]")
"""What a shell expands, and leaves as it is where nothing matches."""


def check_sent(words: Sequence[str], sent: str | None, *, excludes: Iterable[str] = ()) -> None:
    """Refuse a search that would refuse its words, not find its files or lose what it made.

    Parameters
    ----------
    words : of spectrum search
    sent : folder that is sent along and becomes the job's own, or an archive of one, of which
        nothing is known here; None where none is
    excludes : of Ray's runtime environment; what they name is not sent
    """
    given = _parsed(words)
    _check_options(given)
    for option, remedy in KEPT.items():
        if given[option] is not None and not _is_whole(given[option]):
            raise ConfigError(
                f"--{option} is {given[option]}, a relative path: it would be in the folder that "
                f"the job works in, which goes with the job. {remedy}"
            )
    read = [given["space"], *given["roots"], *([given["fork"]] if given["fork"] else [])]
    for path in read:
        if _is_whole(path):
            _check_names_one(path)
        else:
            _check_there(path, sent)
    if sent is not None and not _is_archive(sent):
        _check_go_along([path for path in read if not _is_whole(path)], sent, excludes)


def _parsed(words: Sequence[str]) -> Mapping[str, Any]:
    """Return what the words say to the search of this version; wrong usage is told as its own."""
    alone = typer.Typer()
    searching.register(alone)
    command = typer.main.get_command(alone)
    return command.make_context("spectrum search", list(words)).params


def _check_options(given: Mapping[str, Any]) -> None:
    """Refuse what the search itself would refuse in a job."""
    from spectrum.launch import AUTO
    from spectrum.tracking import told_repo

    searching.check_cluster_options(AUTO, given["cpus"], dry_run=given["dry_run"])
    is_stored = WITH_SCHEME.match(str(given["studies"])) is not None
    searching.check_each_in_folder(tuple(given["sealed"] or ()), is_stored=is_stored)
    if given["aim"]:
        told_repo(given["aim"])


def _is_whole(path: Path | str) -> bool:
    return os.path.isabs(path) or WITH_SCHEME.match(str(path)) is not None  # noqa: PTH117


def _is_archive(sent: str) -> bool:
    return "://" in sent or sent.endswith(ARCHIVE)


def _check_names_one(path: Path) -> None:
    if PATTERN.search(str(path)) and not WITH_SCHEME.match(str(path)) and not path.exists():
        raise ConfigError(
            f"{path} matches nothing on this machine, and nothing expands it on the cluster. Name "
            "the folders one by one, as the cluster has them."
        )


def _check_there(path: Path, sent: str | None) -> None:
    if sent is None:
        raise ConfigError(
            f"{path} is a relative path, and no folder is sent that holds it. Send one with "
            "--working-dir, from which it is read, or give the whole path that it has on the "
            "cluster."
        )
    if _is_archive(sent):
        return
    inside = os.path.normpath(path)
    if inside.startswith(os.pardir) or not (Path(sent) / inside).exists():
        raise ConfigError(
            f"{path} is a relative path, and {sent}, which is sent, holds no such file. Give it "
            f"as it is called in there{_instead(path, sent)}, or send another --working-dir."
        )


def _check_go_along(paths: Sequence[Path], sent: str, excludes: Iterable[str]) -> None:
    """Refuse a path that is in the folder, but of which Ray leaves out all, or all images."""
    from spectrum.launch import files_to_send

    arriving = files_to_send(Path(sent), excludes) if paths else frozenset()
    for path in paths:
        inside = os.path.normpath(path)
        below = [file for file in arriving if file.is_relative_to(inside)]
        loses_images = _hold_images(Path(sent, inside).rglob("*")) and not _hold_images(below)
        if loses_images or not below:
            raise ConfigError(
                f"{path} is in {sent}, which is sent, but Ray leaves out "
                f"{'its images' if below else 'all of it'}: a .gitignore or .rayignore in there, "
                "Ray's own list (.git, .venv, venv) or the excludes of the runtime environment "
                "name it. Change that, or set RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1, under which no "
                ".gitignore counts."
            )


def _hold_images(paths: Iterable[Path]) -> bool:
    from spectrum.data.candidates import IMAGE_EXTENSIONS

    return any(path.name.endswith(IMAGE_EXTENSIONS) for path in paths)


def _instead(path: Path, sent: str) -> str:
    """Return what was probably meant: the same file, but named from here."""
    named = os.path.relpath(path, sent)
    is_there = not named.startswith(os.pardir) and path.exists()
    return f" ({named})" if is_there else ""
