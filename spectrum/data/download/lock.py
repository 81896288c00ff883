"""One download at a time in a folder; the system gives the lock back when its owner dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spectrum.data.download.placing import writing_to
from spectrum.errors import DownloadError

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a state folder; remove the folder at the end where nothing is left in it.

    Parameters
    ----------
    folder : made where it is not there

    Raises
    ------
    DownloadError : code ``locked``, at once, where another download holds it
    """
    path = folder / "lock"
    with writing_to(folder):
        descriptor = _lock(folder, path)
    try:
        yield
    finally:
        with suppress(OSError):
            if [inner.name for inner in folder.iterdir()] == [path.name]:
                path.unlink()
                folder.rmdir()
        os.close(descriptor)


def _lock(folder: Path, path: Path) -> int:
    """Lock the file that is at the path now; another owner may just have removed its own."""
    while True:
        if folder.is_symlink():
            raise DownloadError(
                f"{folder} is a link. Remove it, or use another --out.",
                code="unsafe-name",
                path=str(folder),
            )
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            descriptor = _open(folder, path)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
            os.close(descriptor)


def _open(folder: Path, path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise _taken(folder) from None
    return descriptor


def _taken(folder: Path) -> DownloadError:
    return DownloadError(
        f"Another download is at work in {folder.parent}. Wait until it is done, "
        "or use another --out.",
        code="locked",
        path=str(folder.parent),
    )
