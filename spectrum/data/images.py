"""Read one image in one pass, to the end of the stream, so that its checksum is checked.

nibabel stops reading at the last voxel, so a flipped bit in a .nii.gz passes unseen; here the
whole gzip stream is read (python-isal) and its CRC compared. The same pass gives two digests: of
the file's bytes, and of the voxels, which stays the same when an image is renamed, compressed
again, put into another container or given another orientation. What makes a run unusable is
refused here (``voxels.check_voxels``); what is odd but usable is kept in ``BoldImage.findings``.
Not here: what is done with the voxels (``recipe``, ``quality``).

Memory: ``read_bold`` holds the voxels as stored, the voxels as returned where those differ, and
less than ``OVERHEAD_BYTES`` beside them; ``digest_image`` holds less than that in all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from spectrum.data.findings import Finding, listed
from spectrum.data.headers import NIFTI1_BYTES, ImageHeader, header_size, parse_header
from spectrum.data.image_streams import (
    CHUNK_BYTES,
    digest_beside,
    digest_file,
    drain,
    image_files,
    open_stream,
    read_up_to,
    translated,
)
from spectrum.data.voxels import check_voxels
from spectrum.errors import ImageError

__all__ = [
    "OVERHEAD_BYTES",
    "BoldImage",
    "ImageDigest",
    "digest_beside",
    "digest_file",
    "digest_image",
    "image_files",
    "read_bold",
    "read_image_header",
    "read_mask",
]

OVERHEAD_BYTES: Final = 32 * 1024**2
"""Most memory that reading takes beside the voxels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoldImage:
    """One run as scanned.

    ``data_XYZV`` is int16 where the file holds unscaled integers of at most 16 bits, float32
    otherwise, in Fortran order; ``affine`` is (4, 4), voxel indices to millimetres; ``tr_s`` is
    what the header says, or None; ``sha256`` is that of the file's bytes (``digest_file``);
    ``voxels_sha256`` is that of the voxels, empty for an image that was never a file;
    ``findings`` are odd but usable.
    """

    data_XYZV: NDArray[np.int16] | NDArray[np.float32]
    affine: NDArray[np.float64]
    voxel_mm: tuple[float, float, float]
    tr_s: float | None
    sha256: str
    voxels_sha256: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDigest:
    """Two digests of an image, SHA-256 in hexadecimal: of its bytes on disk, and of its voxels.

    The voxels' digest is over shape, kind of number, scale factor and intercept, and then the
    uncompressed voxels, lowest byte first.
    """

    sha256: str
    voxels_sha256: str


def read_bold(path: Path) -> BoldImage:
    """Read and judge a 4-D NIfTI image.

    Parameters
    ----------
    path : .nii, or .img or .hdr of a pair, each also with .gz

    Raises
    ------
    ImageError
        ``missing-partner``, ``truncated``, ``trailing-data``, ``scaling-overflow``, a code of
        ``image_streams.open_stream``, of ``headers.parse_header`` or of ``voxels.check_voxels``;
        always with the path.
    """
    header, voxels, digests = _read(path)
    if len(header.shape) != 4:
        raise ImageError(
            f"{path} has {len(header.shape)} dimensions. "
            "A BOLD run has four (X, Y, Z and volumes).",
            code="not-4d",
            path=str(path),
        )
    with translated(path):
        data_XYZV = _scale(voxels, header)
        findings = _judge(data_XYZV, voxels, path)
    return BoldImage(
        data_XYZV=data_XYZV,
        affine=header.affine,
        voxel_mm=header.voxel_mm,
        tr_s=header.tr_s,
        sha256=digests.sha256,
        voxels_sha256=digests.voxels_sha256,
        findings=(*header.findings, *findings),
    )


def read_mask(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64], str]:
    """Read a 3-D mask: voxels above zero, the affine, and the SHA-256 of the file."""
    header, voxels, digests = _read(path)
    shape = header.shape[:3]
    if voxels.size != np.prod(shape):
        raise ImageError(
            f"{path} has the shape {header.shape}. A mask has three dimensions.",
            code="bad-mask",
            path=str(path),
        )
    return voxels.reshape(shape, order="F") > 0, header.affine, digests.sha256


def read_image_header(path: Path) -> ImageHeader:
    """Read and check the header alone; the voxels are not looked at.

    Parameters
    ----------
    path : .nii, or .img or .hdr of a pair, each also with .gz
    """
    files = _checked_files(path)
    with open_stream(files[0]) as stream:
        return _parse(_header_bytes(stream), files)


def digest_image(path: Path) -> ImageDigest:
    """Return both digests of an image, in constant memory.

    Parameters
    ----------
    path : as for ``read_bold``; three dimensions are as good as four

    Raises
    ------
    ImageError
        As ``read_bold``, but the voxels' values are not judged.
    """
    return _pass(path, _Scratch())[1]


class _WholeImage:
    """Keeps all voxels, in one buffer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def views(self, header: ImageHeader) -> Iterator[memoryview]:
        """Yield the buffer chunk by chunk, to be filled."""
        _check_memory(header, self._path)
        self._buffer = np.empty(header.num_bytes, dtype=np.uint8)
        view = memoryview(cast(Any, self._buffer))
        for start in range(0, header.num_bytes, CHUNK_BYTES):
            yield view[start : start + CHUNK_BYTES]

    def voxels(self, header: ImageHeader) -> NDArray[Any]:
        """Return them as numbers, as stored."""
        return self._buffer.view(header.dtype)


class _Scratch:
    """Keeps no voxels: one chunk, filled again and again."""

    def views(self, header: ImageHeader) -> Iterator[memoryview]:
        """Yield as many bytes as there are voxels."""
        chunk = memoryview(bytearray(CHUNK_BYTES))
        for start in range(0, header.num_bytes, CHUNK_BYTES):
            yield chunk[: header.num_bytes - start]


class _VoxelDigest:
    """SHA-256 of voxels in a form that no container changes."""

    def __init__(self, header: ImageHeader) -> None:
        kind = header.dtype.newbyteorder("<")
        told = f"{header.shape} {kind.str} {header.slope!r} {header.intercept!r}\n"
        self._sha256 = hashlib.sha256(told.encode("ascii"))
        self._dtype = header.dtype
        self._is_swapped = header.dtype != kind

    def update(self, chunk: memoryview) -> None:
        """Take in whole voxels."""
        if self._is_swapped:
            self._sha256.update(np.frombuffer(chunk, self._dtype).byteswap().data)
        else:
            self._sha256.update(chunk)

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()


def _read(path: Path) -> tuple[ImageHeader, NDArray[Any], ImageDigest]:
    image = _WholeImage(path)
    header, digests = _pass(path, image)
    return header, image.voxels(header), digests


def _pass(path: Path, store: _WholeImage | _Scratch) -> tuple[ImageHeader, ImageDigest]:
    """Go once through every byte of an image."""
    files = _checked_files(path)
    digest = hashlib.sha256()
    header = None
    if len(files) > 1:
        with open_stream(files[0], digest) as stream:
            header = _parse(_header_bytes(stream), files)
            drain(stream, files[0])
    with open_stream(files[-1], digest) as stream:
        if header is None:
            first = _header_bytes(stream)
            header = _parse(first, files)
            _skip(stream, header.offset - len(first))
        else:
            _skip(stream, header.offset)
        voxels_sha256 = _fill(stream, header, store.views(header), path)
        drain(stream, files[-1])
    return header, ImageDigest(sha256=digest.hexdigest(), voxels_sha256=voxels_sha256)


def _checked_files(path: Path) -> tuple[Path, ...]:
    files = image_files(path)
    absent = [file for file in files if file.name != path.name and not file.exists()]
    if absent and path.exists():
        raise ImageError(
            f"{path} is half of a pair, and {absent[0].name} is not there. "
            "Expected both beside each other; fetch the other, or convert both to one .nii.gz.",
            code="missing-partner",
            path=str(path),
        )
    return files


def _header_bytes(stream: BinaryIO) -> bytes:
    first = read_up_to(stream, NIFTI1_BYTES)
    return first + read_up_to(stream, header_size(first) - len(first))


def _parse(first: bytes, files: tuple[Path, ...]) -> ImageHeader:
    return parse_header(
        first,
        file_bytes=files[-1].stat().st_size,
        compressed=files[-1].name.endswith(".gz"),
        path=str(files[0]),
        is_pair=len(files) > 1,
    )


def _skip(stream: BinaryIO, count: int) -> None:
    while count > 0 and (part := stream.read(min(count, CHUNK_BYTES))):
        count -= len(part)


def _fill(stream: BinaryIO, header: ImageHeader, views: Iterator[memoryview], path: Path) -> str:
    """Fill the views with voxels and return their digest, taken while they are in the cache."""
    digest = _VoxelDigest(header)
    done = 0
    for view in views:
        count = _fill_one(stream, view)
        done += count
        if count < len(view):
            raise ImageError(
                f"{path} ends after {done} of {header.num_bytes} bytes of voxels. "
                "The file is cut; fetch it again.",
                code="truncated",
                path=str(path),
            )
        digest.update(view)
    return digest.hexdigest()


def _fill_one(stream: BinaryIO, view: memoryview) -> int:
    done = 0
    while done < len(view) and (count := cast(Any, stream).readinto(view[done:])):
        done += count
    return done


def _check_memory(header: ImageHeader, path: Path) -> None:
    """Refuse before the kernel kills: memory is promised freely and taken back by a signal."""
    import psutil

    returned = (
        0 if _is_returned_as_stored(header) else 4 * (header.num_bytes // header.dtype.itemsize)
    )
    needed, free = header.num_bytes + returned, psutil.virtual_memory().available
    if needed + OVERHEAD_BYTES > free:
        raise ImageError(
            f"{path} needs {needed} bytes of memory and {free} are free. "
            "Free some, run fewer workers, or read it on a larger machine.",
            code="out-of-memory",
            path=str(path),
        )


def _is_returned_as_stored(header: ImageHeader) -> bool:
    return _is_raw(header) and header.dtype in (np.dtype("i2"), np.dtype("f4"))


def _is_raw(header: ImageHeader) -> bool:
    return header.slope == 1.0 and header.intercept == 0.0


def _scale(voxels: NDArray[Any], header: ImageHeader) -> NDArray[np.int16] | NDArray[np.float32]:
    """Return scaled voxels; one volume at a time, so that nothing is held thrice."""
    data: NDArray[Any] = voxels.reshape(header.shape, order="F")
    if _is_raw(header) and np.can_cast(header.dtype, np.int16):
        return data.astype(np.int16, copy=False)
    if _is_returned_as_stored(header):
        return data
    scaled = np.empty(header.shape, np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for v in range(header.shape[3]):
            scaled[..., v] = data[..., v]
            if not _is_raw(header):
                scaled[..., v] *= np.float32(header.slope)
                scaled[..., v] += np.float32(header.intercept)
    return scaled


def _judge(data_XYZV: NDArray[Any], voxels: NDArray[Any], path: Path) -> tuple[Finding, ...]:
    findings = check_voxels(data_XYZV)
    for finding in findings:
        if finding.code == "not-finite" and _is_finite(voxels):
            raise ImageError(
                f"{path}: scaled voxels of volumes {listed(finding.volumes)} are too large for "
                "float32, though those stored are finite. Scale factor, intercept or kind of "
                "number are wrong; write the image again.",
                code="scaling-overflow",
                path=str(path),
            )
        if finding.is_refusal:
            raise ImageError(f"{path}: {finding.message}", code=finding.code, path=str(path))
    return findings


def _is_finite(voxels: NDArray[Any]) -> bool:
    if voxels.dtype.kind != "f":
        return True
    step = CHUNK_BYTES
    return all(np.isfinite(voxels[i : i + step]).all() for i in range(0, voxels.size, step))
