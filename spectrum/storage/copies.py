"""Where the working copy of an address lies on this machine, and what address a folder is of."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectrum.errors import StorageError
from spectrum.owners import write_whole

__all__ = [
    "CACHE_VARIABLE",
    "WorkingCopy",
    "address_of",
    "copies_in",
    "is_address",
    "told_place",
    "working_copy",
]

CACHE_VARIABLE: Final = "SPECTRUM_STORAGE_CACHE"
"""Folder of all working copies; a fast disk of the node's own is best."""

ADDRESS_NAME: Final = ".address"

_ADDRESS: Final = re.compile(r"(s3|gs|gcs|abfs|abfss|hdfs|file)://[^\s?#]+")
_SECRET: Final = re.compile(r"[a-z]+://([^/@]*:[^/]*@)|(s3|gs|gcs)://[^/]*@", re.IGNORECASE)
_ODD: Final = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """A folder of this machine, and the address that it is kept the same as."""

    path: Path
    address: str


def is_address(text: str) -> bool:
    """Return whether a text is the address of a store, and no path.

    Examples
    --------
    >>> is_address("s3://lab/studies"), is_address("studies"), is_address("aim://host:53800")
    (True, False, False)
    """
    return _ADDRESS.fullmatch(text) is not None


def working_copy(address: str) -> WorkingCopy:
    """Return the working copy of a folder of studies or shards, made where it is not there.

    The same for the same address, user and machine; nothing is read from the store. Others cannot
    read in it.

    Raises
    ------
    StorageError
        The address is none, or holds credentials; or the copy cannot be made.
    """
    plain = _checked(address).rstrip("/")
    path = _path_of(plain)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        _mark(path, plain)
    except OSError as err:
        raise StorageError(
            f"{path} cannot be made, the working copy of {plain}: {err.strerror}. Give "
            f"{CACHE_VARIABLE} a folder of your own with room for studies and shards."
        ) from err
    return WorkingCopy(path, plain)


def _checked(address: str) -> str:
    """Return an address that may be told in studies, logs and messages; no other is told here."""
    if _SECRET.match(address):
        raise StorageError(
            "An address holds a user or a password before its @, which would be told in studies "
            "and logs. Give it without, and credentials by the environment (AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY) or the machine's files."
        )
    if not is_address(address):
        raise StorageError(
            f"{address.partition('?')[0]!r} is no address of a store. Give one such as "
            "s3://bucket/folder, gs://bucket/folder or file:///folder, and settings by the "
            "environment (AWS_ENDPOINT_URL), not after a question mark."
        )
    return address


def _path_of(plain: str) -> Path:
    tag = hashlib.sha256(plain.encode()).hexdigest()[:10]
    return _cache() / f"{_ODD.sub('-', plain.partition('://')[2]).strip('-')}-{tag}"


def _is_copy(folder: Path, address: str) -> bool:
    """Tell whether a folder was marked here: one that came from elsewhere may name any address."""
    return is_address(address) and _path_of(address).resolve() == folder.resolve()


def _mark(path: Path, plain: str) -> None:
    mark = path / ADDRESS_NAME
    if not mark.is_file():
        write_whole(mark, plain.encode())


def address_of(folder: Path) -> str | None:
    """Return the address of a folder in a working copy, or of the copy itself; None elsewhere."""
    absolute = folder.absolute()
    for above in (absolute, *absolute.parents):
        mark = above / ADDRESS_NAME
        if mark.is_file():
            below = absolute.relative_to(above).as_posix()
            address = mark.read_text(encoding="utf-8").strip()
            if not _is_copy(above, address):
                return None
            return address if below == "." else f"{address}/{below}"
    return None


def told_place(folder: Path) -> str:
    """Return how a folder is told: by the address that a user gave for it, or as it is."""
    return address_of(folder) or str(folder)


def copies_in(text: str) -> list[WorkingCopy]:
    """Return the working copies of this machine whose paths stand in a text."""
    caches = dict.fromkeys((_cache(), _cache().resolve()))
    named = (
        cache / name
        for cache in caches
        for name in re.findall(rf"{re.escape(str(cache))}/([A-Za-z0-9.-]+)", text)
    )
    found = ((folder, address_of(folder)) for folder in dict.fromkeys(named))
    return [WorkingCopy(folder, address) for folder, address in found if address is not None]


def _cache() -> Path:
    told = os.environ.get(CACHE_VARIABLE)
    if told:
        return Path(told).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "spectrum" / "storage"
