"""When a file becomes visible: no link in its way, and only once its size and digest are right.

Not here: names that are unsafe by themselves (``names``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectrum.data.download.faults import disk_error
from spectrum.errors import DownloadError

__all__ = ["check_way", "place", "writing_to"]


def check_way(root: Path, path: str) -> os.stat_result | None:
    """Return the state of the file that is at a path; None where nothing is.

    Parameters
    ----------
    root : of the data set; may itself be reached through links, as the user chose it
    path : within the data set

    Raises
    ------
    DownloadError : code ``unsafe-name``
        Where a link, or something that is neither file nor folder, stands in the way: whatever is
        written there would land somewhere else.
    """
    *folders, name = path.split("/")
    at = root
    for folder in folders:
        at = at / folder
        state = _state(at)
        if state is None:
            return None
        if not stat.S_ISDIR(state.st_mode):
            raise _in_the_way(path, at, state)
    state = _state(at / name)
    if state is not None and not stat.S_ISREG(state.st_mode):
        raise _in_the_way(path, at / name, state)
    return state


def place(part_path: Path, root: Path, path: str) -> None:
    """Make a whole and verified file visible under its own name, in one step."""
    check_way(root, path)
    target = root / path
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        part_path.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn the system's errors into one sentence."""
    try:
        yield
    except OSError as err:
        raise disk_error(err, path) from err


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise disk_error(err, path) from err


def _in_the_way(path: str, at: Path, state: os.stat_result) -> DownloadError:
    what = "a link" if stat.S_ISLNK(state.st_mode) else "no plain file or folder"
    return DownloadError(
        f"{path}: {at} is {what}, so the file would land elsewhere. "
        "Remove it or use another --out.",
        code="unsafe-name",
        path=path,
    )
