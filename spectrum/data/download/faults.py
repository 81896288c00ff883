"""What can go wrong with one file, told apart by what has to be done about it."""

from __future__ import annotations

import errno

from spectrum.errors import DownloadError

__all__ = [
    "DiskError",
    "ObjectChangedError",
    "RangeIgnoredError",
    "StoppedError",
    "TransferError",
    "VersionUnknownError",
    "disk_error",
]


class TransferError(DownloadError):
    """A fault that may pass: try again after a while."""


class ObjectChangedError(DownloadError):
    """The object is no longer the one that the first parts came from: start this file over."""


class RangeIgnoredError(DownloadError):
    """The server sends whole objects only: fetch this file in one piece."""


class VersionUnknownError(DownloadError):
    """The server does not know the wanted version: take the current one, which must verify."""


class DiskError(DownloadError):
    """Nothing can be written any more: stop everything."""


class StoppedError(DownloadError):
    """Everything is to stop; what has arrived is noted."""


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def disk_error(err: OSError, path: object) -> DiskError:
    """Say in one sentence why a file cannot be written."""
    cause = (err.strerror or str(err)).lower()
    if err.errno in FULL:
        return DiskError(
            f"{path} cannot be written: {cause}. Free disk space or choose another --out; "
            "what has arrived is kept, and the same command goes on from there.",
            code="disk-full",
            path=str(path),
        )
    return DiskError(
        f"{path} cannot be written: {cause}. Choose a folder that can be written to with --out.",
        code="not-writable",
        path=str(path),
    )
