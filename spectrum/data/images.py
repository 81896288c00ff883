"""Read one BOLD image in one pass, to the end of the stream, so that its checksum is checked.

nibabel stops reading at the last voxel, so a flipped bit in a .nii.gz passes unseen; here the
whole gzip stream is read (python-isal) and its CRC compared, and the same pass gives the SHA-256
of the file's bytes. Not here: what is done with the voxels (``recipe``, ``quality``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from spectrum.data.headers import HEADER_BYTES, ImageHeader, parse_header
from spectrum.errors import ImageError

__all__ = ["BoldImage", "digest_file", "read_bold", "read_image_header", "read_mask"]

CHUNK_BYTES: Final = 1024 * 1024
"""Bytes read from disk, and drained from a stream, at once."""

MAX_TAIL_BYTES: Final = 1024 * 1024
"""Bytes that may follow the last voxel; some writers pad, a bomb does not end."""

GZIP_MAGIC: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoldImage:
    """One run as scanned.

    ``data_XYZV`` is int16 where the file holds unscaled integers of at most 16 bits, float32
    otherwise, in Fortran order; ``affine`` is (4, 4), voxel indices to millimetres; ``tr_s`` is
    what the header says, or None; ``sha256`` is that of the file's bytes.
    """

    data_XYZV: NDArray[np.int16] | NDArray[np.float32]
    affine: NDArray[np.float64]
    voxel_mm: tuple[float, float, float]
    tr_s: float | None
    sha256: str


def read_bold(path: Path) -> BoldImage:
    """Read a 4-D NIfTI image, gzipped or not.

    Parameters
    ----------
    path : .nii or .nii.gz

    Raises
    ------
    ImageError
        ``missing-image``, ``empty-file``, ``not-gzip``, ``bad-gzip`` (a wrong checksum or a
        damaged stream), ``truncated``, ``trailing-data``, ``unreadable``, or a code of
        ``headers.parse_header``; always with the path.
    """
    header, voxels, sha256 = _read(path)
    if len(header.shape) != 4:
        raise ImageError(
            f"{path} has {len(header.shape)} dimensions. "
            "A BOLD run has four (X, Y, Z and volumes).",
            code="not-4d",
            path=str(path),
        )
    return BoldImage(
        data_XYZV=_scale(voxels, header),
        affine=header.affine,
        voxel_mm=header.voxel_mm,
        tr_s=header.tr_s,
        sha256=sha256,
    )


def read_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64], str]:
    """Read a 3-D mask: voxels above zero, the affine, and the SHA-256 of the file."""
    header, voxels, sha256 = _read(path)
    shape = header.shape[:3]
    if voxels.size != np.prod(shape):
        raise ImageError(
            f"{path} has the shape {header.shape}. A mask has three dimensions.",
            code="bad-mask",
            path=str(path),
        )
    return voxels.reshape(shape, order="F") > 0, header.affine, sha256


def read_image_header(path: Path) -> ImageHeader:
    """Read and check the header alone; the voxels are not looked at."""
    with _opened(path) as (stream, compressed, _):
        return _read_header(stream, compressed, path)[0]


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> tuple[ImageHeader, NDArray[Any], str]:
    with _opened(path) as (stream, compressed, hashed):
        header, first = _read_header(stream, compressed, path)
        voxels = _read_voxels(stream, header, first, path)
        _drain(stream, path)
        return header, voxels, hashed.drained_sha256()


class _HashingFile(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast(io.RawIOBase, self._file).readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        return count

    def drained_sha256(self) -> str:
        """Read what is left, then return the digest of the whole file."""
        while chunk := self._file.read(CHUNK_BYTES):
            self._hash.update(chunk)
        return self._hash.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bool, _HashingFile]]:
    """Yield the uncompressed stream; turn every way of failing into an ImageError."""
    from isal import igzip, igzip_lib

    compressed = _check_file(path)
    try:
        with path.open("rb", buffering=0) as file:
            hashed = _HashingFile(cast(BinaryIO, file))
            buffered = io.BufferedReader(hashed, CHUNK_BYTES)
            stream = igzip.IGzipFile(fileobj=buffered, mode="rb") if compressed else buffered
            yield cast(BinaryIO, stream), compressed, hashed
    except (igzip_lib.IsalError, igzip.BadGzipFile, EOFError) as err:  # type: ignore[misc]
        raise ImageError(
            f"{path} is damaged: {' '.join(str(err).split()).rstrip('.')}. "
            "The whole gzip stream must be readable and match its checksum; fetch the file again.",
            code="bad-gzip",
            path=str(path),
        ) from err
    except (OSError, MemoryError) as err:
        raise ImageError(
            f"{path} cannot be read: {err or type(err).__name__}. "
            "Check the disk, the permissions and the free memory.",
            code="unreadable",
            path=str(path),
        ) from err


def _check_file(path: Path) -> bool:
    """Return whether the file is gzipped; raise where there is nothing to read."""
    if not path.is_file():
        raise ImageError(
            f"{path} is not there{' (a link to nothing)' if path.is_symlink() else ''}. "
            "Fetch the image first, such as with `spectrum download` or `datalad get`.",
            code="missing-image",
            path=str(path),
        )
    size = path.stat().st_size
    if size == 0:
        raise ImageError(
            f"{path} is empty. Expected an image; fetch it again.",
            code="empty-file",
            path=str(path),
        )
    compressed = path.name.endswith(".gz")
    if compressed and not _begins_with_gzip(path):
        raise ImageError(
            f"{path} ends in .gz but is no gzip file ({size} bytes). "
            "It may be an error page or a git-annex pointer; fetch the image itself.",
            code="not-gzip",
            path=str(path),
        )
    return compressed


def _begins_with_gzip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(2) == GZIP_MAGIC
    except OSError as err:
        raise ImageError(
            f"{path} cannot be read: {err}. Check the disk and the permissions.",
            code="unreadable",
            path=str(path),
        ) from err


def _read_header(stream: BinaryIO, compressed: bool, path: Path) -> tuple[ImageHeader, bytes]:
    first = _read_exactly(stream, HEADER_BYTES)
    header = parse_header(
        first, file_bytes=path.stat().st_size, compressed=compressed, path=str(path)
    )
    return header, first


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    """Read ``count`` bytes, or what there is; a gzip stream may give fewer at a time."""
    parts = []
    while count > 0 and (part := stream.read(min(count, CHUNK_BYTES))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _read_voxels(stream: BinaryIO, header: ImageHeader, first: bytes, path: Path) -> NDArray[Any]:
    between = header.offset - len(first)
    if between > 0:
        _read_exactly(stream, between)
    ahead = first[header.offset :][: header.num_bytes]
    buffer = np.empty(header.num_bytes, dtype=np.uint8)
    buffer[: len(ahead)] = np.frombuffer(ahead, dtype=np.uint8)
    done = len(ahead)
    view = memoryview(cast(Any, buffer))
    while done < header.num_bytes:
        count = stream.readinto(view[done : done + CHUNK_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise ImageError(
                f"{path} ends after {done} of {header.num_bytes} bytes of voxels. "
                "The file is cut; fetch it again.",
                code="truncated",
                path=str(path),
            )
        done += count
    return buffer.view(header.dtype)


def _drain(stream: BinaryIO, path: Path) -> None:
    """Read to the end, where the gzip checksum stands."""
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


def _scale(voxels: NDArray[Any], header: ImageHeader) -> NDArray[np.int16] | NDArray[np.float32]:
    data: NDArray[Any] = voxels.reshape(header.shape, order="F")
    is_raw = header.slope == 1.0 and header.intercept == 0.0
    if is_raw and np.can_cast(header.dtype, np.int16):
        return data.astype(np.int16, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = data.astype(np.float32, copy=False)
        if not is_raw:
            scaled = scaled * np.float32(header.slope) + np.float32(header.intercept)
    return scaled
