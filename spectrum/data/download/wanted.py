"""Which files a download was asked for, kept until the report names each one.

Without it an interrupted download would look like a smaller one that is whole. The file may have
been changed: names in it are held to the same rules as those of a server, and nothing is read or
written by them. Not here: what has arrived (``report``), whether it is right (``verification``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from spectrum.config.files import parse_json
from spectrum.data.download.config import Filters
from spectrum.data.download.names import STATE_FOLDER, refuse_unsafe
from spectrum.data.download.placing import check_way, writing_to
from spectrum.data.download.selection import is_wanted, values_of
from spectrum.data.runs import Problem
from spectrum.errors import DownloadError

__all__ = ["forget_wanted", "not_arrived", "write_wanted"]

WANTED_NAME: Final = "wanted.json"
WANTED_PATH: Final = f"{STATE_FOLDER}/{WANTED_NAME}"
MAX_BYTES: Final = 256 * 1024**2
"""Never larger: a bucket key has at most 1024 bytes, which are a quarter of a million names."""


def write_wanted(root: Path, paths: Iterable[str], *, listed: Collection[str]) -> None:
    """Remember what is asked for, besides what is still missing of an earlier request.

    Parameters
    ----------
    root : of the data set; its state folder is there
    paths : asked for now
    listed : all that the data set has; an earlier wish for anything else is dropped

    Raises
    ------
    DownloadError : where the state folder cannot be written to
    """
    earlier = [path for path in _wanted(root) or () if path in listed]
    _write(root, {*earlier, *paths})


def forget_wanted(root: Path, settled: Collection[str]) -> None:
    """Forget the files that a report names; the others are still waited for."""
    left = set(_wanted(root) or ()) - set(settled)
    if left:
        _write(root, left)
    else:
        with writing_to(root / WANTED_PATH):
            (root / WANTED_PATH).unlink(missing_ok=True)


def not_arrived(root: Path, settled: Collection[str], filters: Filters) -> list[Problem]:
    """Return a problem for each file that was asked for and has not been verified.

    Parameters
    ----------
    root : of the data set
    settled : names that a report or a check tells about
    filters : choose among the names

    Returns
    -------
    problems : codes ``not-arrived``, ``unsafe-name``
    """
    wanted = _wanted(root)
    if wanted is None:
        message = (
            f"{root / WANTED_PATH} cannot be read, so what is still missing is not known. "
            "Remove it and download again."
        )
        return [Problem(code="not-arrived", path=WANTED_PATH, message=message)]
    unsafe = refuse_unsafe(wanted)
    left = set(wanted) - set(settled) - {problem.path for problem in unsafe}
    every, values = filters.model_copy(update={"everything": True}), values_of(wanted)
    waited_for = [path for path in sorted(left) if is_wanted(path, every, values)]
    return [*unsafe, *(_problem(path) for path in waited_for)]


def _problem(path: str) -> Problem:
    message = f"{path} has not arrived whole yet. The same download goes on where it stopped."
    return Problem(code="not-arrived", path=path, message=message)


def _write(root: Path, paths: Collection[str]) -> None:
    """Write in one step, and through no link."""
    aside = root / STATE_FOLDER / f".{WANTED_NAME}"
    with writing_to(aside):
        aside.unlink(missing_ok=True)
        aside.write_text(json.dumps(sorted(paths)), encoding="utf-8")
        aside.replace(root / WANTED_PATH)


def _wanted(root: Path) -> list[str] | None:
    """Return the names that are waited for; None where there is a list that cannot be read."""
    try:
        state = check_way(root, WANTED_PATH)
        if state is None:
            return []
        if state.st_size > MAX_BYTES:
            return None
        names = parse_json((root / WANTED_PATH).read_text(encoding="utf-8"))
    except (OSError, ValueError, DownloadError):
        return None
    is_sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_sound else None
