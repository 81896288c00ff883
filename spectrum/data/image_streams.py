"""The bytes of an image: which files hold them; opened safely, inflated, hashed, read to the end.

An image is one file, ``.nii``, or a pair, ``.img`` with the voxels and ``.hdr`` with the header;
each may end in ``.gz``. *The* path of a pair is its ``.img``, as in nibabel; the ``.hdr`` names it
as well. Nothing but a regular file is ever read, so a pipe or a device cannot hold a worker, and a
file that changes while it is read is refused. Not here: what the bytes mean (``headers``).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

from spectrum.errors import ImageError

__all__ = [
    "CHUNK_BYTES",
    "Digest",
    "digest_beside",
    "digest_file",
    "drain",
    "image_files",
    "open_stream",
    "read_up_to",
    "translated",
]

CHUNK_BYTES: Final = 1024 * 1024
"""Bytes read from disk, and drained from a stream, at once."""

MAX_TAIL_BYTES: Final = 1024 * 1024
"""Bytes that may follow the last voxel; some writers pad, a bomb does not end."""

GZIP_MAGIC: Final = b"\x1f\x8b"

IMAGE_OF_HEADER: Final = {".hdr": ".img", ".hdr.gz": ".img.gz"}
"""Endings of the two files of a pair; both are compressed or none is."""

POINTERS: Final = (b"/annex/objects/", b"../.git/annex/", b"version https://git-lfs")
"""What stands in a small file in place of the image (git-annex, Git LFS)."""


class Digest(Protocol):
    """What ``hashlib.sha256()`` gives."""

    def update(self, data: Any, /) -> None:
        """Take in bytes."""
        ...


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the files that an image is made of, whether they are there or not.

    Parameters
    ----------
    path : a single file, or either file of a pair

    Returns
    -------
    files : the header first; the last one holds the voxels and is *the* path of the image

    Examples
    --------
    >>> [file.name for file in image_files(Path("sub-01_bold.img.gz"))]
    ['sub-01_bold.hdr.gz', 'sub-01_bold.img.gz']
    >>> [file.name for file in image_files(Path("sub-01_bold.nii.gz"))]
    ['sub-01_bold.nii.gz']
    """
    for header, image in IMAGE_OF_HEADER.items():
        for ending in (header, image):
            if path.name.endswith(ending):
                stem = path.name.removesuffix(ending)
                return path.with_name(stem + header), path.with_name(stem + image)
    return (path,)


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a pair, of the header's and then the voxels' file.

    Raises
    ------
    OSError
        A file is not there or cannot be read.
    ImageError
        ``not-a-file``
    """
    digest = hashlib.sha256()
    for file_path in image_files(path):
        with _opened(file_path) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def digest_beside(path: Path) -> str:
    """Return the SHA-256 of a file that a recipe needs beside an image: a mask, confounds.

    Raises
    ------
    ImageError
        ``unreadable`` or ``not-a-file``
    """
    try:
        return digest_file(path)
    except OSError as err:
        raise ImageError(
            f"{path}, which goes with an image, cannot be read: {err}. Check the disk and the "
            "network.",
            code="unreadable",
            path=str(path),
        ) from err


def read_up_to(stream: BinaryIO, count: int) -> bytes:
    """Read ``count`` bytes, or what there is; a gzip stream may give fewer at a time."""
    parts = []
    while count > 0 and (part := stream.read(min(count, CHUNK_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def drain(stream: BinaryIO, path: Path) -> None:
    """Read to the end, where the gzip checksum stands.

    Raises
    ------
    ImageError
        ``trailing-data``: more than ``MAX_TAIL_BYTES`` are left.
    """
    tail = 0
    while chunk := stream.read(CHUNK_BYTES):
        tail += len(chunk)
        if tail > MAX_TAIL_BYTES:
            raise ImageError(
                f"{path} goes on for more than {MAX_TAIL_BYTES} bytes after its last voxel. "
                "Header and data do not belong together; fetch the file again.",
                code="trailing-data",
                path=str(path),
            )


@contextmanager
def open_stream(path: Path, digest: Digest | None = None) -> Iterator[BinaryIO]:
    """Yield the uncompressed bytes of one file.

    Parameters
    ----------
    path : the file; it is inflated where the name ends in .gz
    digest : is given every byte on disk, in order, by the end of the block
        None where the rest of the file does not matter.

    Raises
    ------
    ImageError
        ``missing-image``, ``not-a-file``, ``no-permission``, ``empty-file``, ``not-gzip``,
        ``pointer-file``, ``web-page``, ``bad-gzip``, ``changed-while-reading``, ``out-of-memory``
        or ``unreadable``.
    """
    from isal import igzip, igzip_lib

    damage = cast(Any, (igzip_lib.IsalError, igzip.BadGzipFile, EOFError))
    with translated(path, damage), _opened(path) as file:
        before = _state(file)
        _check_holds_bytes(path, before[0])
        compressed = path.name.endswith(".gz")
        _check_beginning(file, path, compressed)
        hashed = _HashingFile(file, digest)
        buffered = io.BufferedReader(hashed, CHUNK_BYTES)
        stream = igzip.IGzipFile(fileobj=buffered, mode="rb") if compressed else buffered
        yield cast(BinaryIO, stream)
        if digest is None:
            return
        hashed.finish()
        _check_unchanged(path, before, _state(file), hashed.num_bytes)


class _HashingFile(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, file: BinaryIO, digest: Digest | None) -> None:
        self._file = file
        self._digest = digest
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast(io.RawIOBase, self._file).readinto(buffer) or 0
        self._take(memoryview(buffer)[:count])
        return count

    def finish(self) -> None:
        """Hash what is left; a stream of unknown end was drained before, so this is little."""
        while chunk := self._file.read(CHUNK_BYTES):
            self._take(chunk)

    def _take(self, chunk: bytes | memoryview) -> None:
        self.num_bytes += len(chunk)
        if self._digest is not None:
            self._digest.update(chunk)


@contextmanager
def translated(path: Path, damage: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn every way in which reading fails into an ImageError.

    Parameters
    ----------
    path : named in the error
    damage : what a decoder raises on damaged bytes
    """
    try:
        yield
    except damage as err:
        raise ImageError(
            f"{path} is damaged: {' '.join(str(err).split()).rstrip('.')}. "
            "The whole gzip stream must be readable and match its checksum; fetch the file again.",
            code="bad-gzip",
            path=str(path),
        ) from err
    except MemoryError as err:
        raise ImageError(
            f"{path} does not fit into memory. Free some, or read the run on a larger machine.",
            code="out-of-memory",
            path=str(path),
        ) from err
    except (OSError, ValueError) as err:
        raise _unreadable(path, err) from err


def _unreadable(path: Path, err: OSError | ValueError) -> ImageError:
    number = err.errno if isinstance(err, OSError) else None
    if number in (errno.ENOENT, errno.ENOTDIR) or isinstance(err, ValueError):
        found, code = "is not there", "missing-image"
        advice = "Fetch the image first, such as with `spectrum download` or `datalad get`."
        if path.is_symlink():
            found += " (a link to nothing)"
    elif number == errno.ELOOP:
        found, code = "is a link that leads back to itself", "missing-image"
        advice = "Fetch the image itself."
    elif number in (errno.EACCES, errno.EPERM):
        found, code = "may not be read by this user", "no-permission"
        advice = "Change its permissions, or ask its owner."
    else:
        found, code = f"cannot be read: {err}", "unreadable"
        advice = "Check the disk and the network."
    return ImageError(f"{path} {found}. {advice}", code=code, path=str(path))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file; a pipe that takes its place after the look does not block either."""
    _check_regular(path, path.stat())
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb", buffering=0) as file:
        _check_regular(path, os.fstat(number))
        yield cast(BinaryIO, file)


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(
            f"{path} is a folder, a pipe, a socket or a device. Expected a file; remove it, or "
            "put the image in its place.",
            code="not-a-file",
            path=str(path),
        )


def _check_holds_bytes(path: Path, num_bytes: int) -> None:
    if num_bytes == 0:
        raise ImageError(
            f"{path} is empty. Expected an image; fetch it again.",
            code="empty-file",
            path=str(path),
        )


def _check_beginning(file: BinaryIO, path: Path, compressed: bool) -> None:
    first = file.read(256)
    file.seek(0)
    is_gzip = first[:2] == GZIP_MAGIC
    if compressed and is_gzip:
        return
    if any(pointer in first for pointer in POINTERS):
        found, code = "holds the name of an image and not the image", "pointer-file"
    elif first.lstrip()[:1] in (b"<", b"{"):
        found, code = "is a web page, probably an error told by a server", "web-page"
    elif compressed:
        found, code = "ends in .gz but is no gzip file", "not-gzip"
    elif is_gzip:
        found, code = "is a gzip file without .gz in its name", "gzip-without-gz"
    else:
        return
    raise ImageError(
        f"{path} {found}. Expected an image under its true name; fetch or rename it.",
        code=code,
        path=str(path),
    )


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _check_unchanged(
    path: Path, before: tuple[int, int], after: tuple[int, int], num_bytes: int
) -> None:
    if before != after or num_bytes != before[0]:
        raise ImageError(
            f"{path} changed while it was read ({before[0]} bytes before, {after[0]} after). "
            "Something still writes it; try again when that is done.",
            code="changed-while-reading",
            path=str(path),
        )
