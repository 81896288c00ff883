"""NIfTI headers, judged before a byte of the image is allocated.

Everything here works on the first bytes of a file and on its size. Analyze 7.5, the format from
which NIfTI grew, is refused by name: it does not tell left from right, and the programs that read
it have guessed differently. Not here: reading voxels (``images``), sform and qform
(``orientation``), and which TR is right where header and sidecar differ (``bids``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from spectrum.data.findings import Finding
from spectrum.data.orientation import read_orientation
from spectrum.errors import ImageError

__all__ = ["HEADER_BYTES", "NIFTI1_BYTES", "ImageHeader", "header_size", "parse_header"]

NIFTI1_BYTES: Final = 348
"""Bytes of a NIfTI-1 header (nifti1.h), and of an Analyze header."""

HEADER_BYTES: Final = 540
"""Bytes of a NIfTI-2 header (nifti2.h)."""

EXTENDER_BYTES: Final = 4
"""Bytes between the header and the voxels of a single file, at least (nifti1.h)."""

MAX_SIDE: Final = 4096
"""Largest side taken for real: scanners make 512 voxels and a few thousand volumes at most."""

MAX_BYTES: Final = 8 * 1024**3
"""Largest image, uncompressed."""

MAX_RATIO: Final = 1100
"""Largest uncompressed over compressed size: deflate reaches 1032:1 (zlib's technical details)."""

BOMB_BYTES: Final = 256 * 1024**2
"""An image up to this size may have any ratio: a masked one of 81 voxels has 600:1."""

MAX_LARGE_RATIO: Final = 100
"""Largest ratio of a larger image; a run masked to a tenth of its voxels has about 20:1."""

MAX_EXTENSION_BYTES: Final = 64 * 1024**2
"""Largest distance from the header to the voxels."""

DTYPES: Final = frozenset({"u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"})
"""Kinds of voxels that are numbers on one line; complex, RGB and 128-bit voxels are refused."""

SECONDS_OF_UNIT: Final = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
"""Time codes of ``xyzt_units`` (nifti1.h): unknown, seconds, milliseconds, microseconds."""

SPACE_UNITS: Final = {1: "metre", 2: "mm", 3: "micrometre"}
"""Space codes of ``xyzt_units`` (nifti1.h); 0 is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What a checked header says.

    ``shape`` has 3 or 4 sides; ``affine`` is (4, 4), voxel indices to millimetres, finite and not
    singular; ``tr_s`` is None where the header tells none; ``dtype`` keeps the byte order of the
    file; ``offset`` is where the voxels begin; a slope of 1 and an intercept of 0 mean raw values;
    ``findings`` are odd but usable.
    """

    shape: tuple[int, ...]
    voxel_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    tr_s: float | None
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int
    findings: tuple[Finding, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of the voxels alone."""
        return math.prod(self.shape) * self.dtype.itemsize


def header_size(first_bytes: bytes) -> int:
    """Return how many bytes a header has that begins like this: those of NIfTI-2, or of NIfTI-1.

    Parameters
    ----------
    first_bytes : at least four, or all of a shorter file
    """
    is_nifti2 = HEADER_BYTES in (_first_int(first_bytes, "little"), _first_int(first_bytes, "big"))
    return HEADER_BYTES if is_nifti2 else NIFTI1_BYTES


def parse_header(
    first_bytes: bytes, *, file_bytes: int, compressed: bool, path: str, is_pair: bool = False
) -> ImageHeader:
    """Read and check a NIfTI-1 or NIfTI-2 header.

    Parameters
    ----------
    first_bytes : the first ``HEADER_BYTES`` of the uncompressed file, or all of a shorter one
    file_bytes : size on disk of the file that holds the voxels
    compressed : whether that size is of a gzip file
    path : names the file in errors
    is_pair : whether the voxels have a file of their own

    Raises
    ------
    ImageError
        ``not-nifti``, ``analyze-format``, ``not-4d``, ``bad-dimensions``, ``bad-datatype``,
        ``bad-scaling``, ``bad-offset``, ``too-large``, ``truncated``, or a code of
        ``orientation.read_orientation``.
    """
    raw = _parse(first_bytes, path, is_pair=is_pair)
    shape = _check_shape(raw, path)
    dtype = _check_dtype(raw, path)
    slope, intercept = _check_scaling(raw, path)
    offset = _check_offset(raw, path, is_pair=is_pair)
    affine, findings = read_orientation(raw, shape, path)
    header = ImageHeader(
        shape=shape,
        voxel_mm=_voxel_mm(affine),
        affine=affine,
        tr_s=_tr_s(raw),
        dtype=dtype,
        slope=slope,
        intercept=intercept,
        offset=offset,
        findings=(*findings, *_check_units(raw)),
    )
    _check_size(header, file_bytes=file_bytes, compressed=compressed, path=path)
    return header


def _first_int(first_bytes: bytes, order: Literal["little", "big"]) -> int:
    return int.from_bytes(first_bytes[:4], order)


def _parse(first_bytes: bytes, path: str, *, is_pair: bool) -> Any:
    import nibabel as nib

    size = header_size(first_bytes)
    kind, number = (nib.Nifti1Header, b"1") if size == NIFTI1_BYTES else (nib.Nifti2Header, b"2")
    start = 344 if size == NIFTI1_BYTES else 4
    magic = first_bytes[start : start + 4]
    order = "<" if _first_int(first_bytes, "little") == size else ">"
    is_sized = size in (_first_int(first_bytes, "little"), _first_int(first_bytes, "big"))
    if len(first_bytes) < size or not is_sized or not _is_whole(first_bytes, size):
        raise _not_nifti(first_bytes, path, "does not begin with a NIfTI header")
    if magic == (b"ni" if is_pair else b"n+") + number + b"\0":
        return kind(first_bytes[:size], endianness=order, check=False)
    if magic == (b"n+" if is_pair else b"ni") + number + b"\0":
        other = "a single file" if is_pair else "a pair of .hdr and .img"
        raise _not_nifti(first_bytes, path, f"has the header of {other}")
    if size == NIFTI1_BYTES and is_pair:
        raise _analyze(path)
    raise _not_nifti(first_bytes, path, "does not begin with a NIfTI header")


def _is_whole(first_bytes: bytes, size: int) -> bool:
    """Return whether line ends came through: NIfTI-2 has some in its magic, as PNG has."""
    return size == NIFTI1_BYTES or first_bytes[8:12] in (b"\r\n\x1a\n", bytes(4))


def _not_nifti(first_bytes: bytes, path: str, found: str) -> ImageError:
    return ImageError(
        f"{path} {found} (its first bytes are {first_bytes[:8]!r}). Expected a NIfTI-1 or NIfTI-2 "
        "image, one file .nii or a pair .hdr and .img; fetch or convert it again.",
        code="not-nifti",
        path=path,
    )


def _analyze(path: str) -> ImageError:
    return ImageError(
        f"{path} is an Analyze 7.5 image, which does not tell left from right. Expected NIfTI; "
        "convert it with a program that knows how it was written.",
        code="analyze-format",
        path=path,
    )


def _check_shape(raw: Any, path: str) -> tuple[int, ...]:
    num_dims = int(raw["dim"][0])
    if num_dims not in (3, 4):
        raise ImageError(
            f"{path} has {num_dims} dimensions. A BOLD run has four (X, Y, Z and volumes).",
            code="not-4d",
            path=path,
        )
    shape = tuple(int(side) for side in raw["dim"][1 : num_dims + 1])
    if min(shape) < 1 or max(shape) > MAX_SIDE:
        raise ImageError(
            f"{path} has sides {shape}. Each must be 1 to {MAX_SIDE}; the header is damaged.",
            code="bad-dimensions",
            path=path,
        )
    return shape


def _check_dtype(raw: Any, path: str) -> np.dtype[Any]:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype: np.dtype[Any] | None = np.dtype(raw.get_data_dtype())
    except (HeaderDataError, KeyError, TypeError):
        dtype = None
    if dtype is None or dtype.str[1:] not in DTYPES or int(raw["bitpix"]) != 8 * dtype.itemsize:
        raise ImageError(
            f"{path} holds voxels of NIfTI datatype {int(raw['datatype'])} with "
            f"{int(raw['bitpix'])} bits. Expected whole or real numbers of 8 to 64 bits.",
            code="bad-datatype",
            path=path,
        )
    return dtype


def _check_scaling(raw: Any, path: str) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ImageError(
            f"{path} has the scale factor {slope} and the intercept {intercept}. "
            "Both must be finite; write the image again.",
            code="bad-scaling",
            path=path,
        )
    return (1.0, 0.0) if slope == 0.0 else (slope, intercept)


def _voxel_mm(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return round(float(x), 6), round(float(y), 6), round(float(z), 6)


def _tr_s(raw: Any) -> float | None:
    if int(raw["dim"][0]) < 4:
        return None
    unit_s = SECONDS_OF_UNIT.get(int(raw["xyzt_units"]) & 0x38, math.nan)
    tr_s = round(float(raw["pixdim"][4]) * unit_s, 9)
    return tr_s if math.isfinite(tr_s) and tr_s > 0 else None


def _check_units(raw: Any) -> tuple[Finding, ...]:
    """Look at ``xyzt_units``; positions count as millimetres and times as seconds if unknown."""
    code = int(raw["xyzt_units"])
    space, time = SPACE_UNITS.get(code & 0x07, "unknown"), code & 0x38
    found = []
    if space != "mm":
        found.append(("not-millimetres", f"positions in units {space}; millimetres are taken"))
    if int(raw["dim"][0]) == 4 and time not in SECONDS_OF_UNIT:
        found.append(("no-time-axis", f"a fourth axis in units of code {time}; no TR is taken"))
    if int(raw["dim"][0]) == 4 and time == 0:
        found.append(("unknown-time-unit", "times in unknown units; seconds are taken"))
    return tuple(
        Finding(code=code, message=f"The header gives {what}. Look whether that is right.")
        for code, what in found
    )


def _check_offset(raw: Any, path: str, *, is_pair: bool) -> int:
    offset = float(raw["vox_offset"])
    least = 0 if is_pair else int(raw.template_dtype.itemsize) + EXTENDER_BYTES
    is_possible = math.isfinite(offset) and offset == int(offset)
    if not is_possible or not least <= offset <= least + MAX_EXTENSION_BYTES:
        raise ImageError(
            f"{path} says that its voxels begin at byte {offset:g}. "
            f"Expected {least} or a little more; the header is damaged.",
            code="bad-offset",
            path=path,
        )
    return int(offset)


def _check_size(header: ImageHeader, *, file_bytes: int, compressed: bool, path: str) -> None:
    num_bytes = header.offset + header.num_bytes
    most = min(MAX_BYTES, _most_inflated(file_bytes)) if compressed else MAX_BYTES
    if num_bytes > most:
        raise ImageError(
            f"{path} has {file_bytes} bytes and claims an image of {num_bytes}. "
            f"At most {most} are believed; the header is damaged or made to fill memory.",
            code="too-large",
            path=path,
        )
    if not compressed and num_bytes > file_bytes:
        raise ImageError(
            f"{path} has {file_bytes} bytes, but its header needs {num_bytes}. "
            "The file is cut; fetch it again.",
            code="truncated",
            path=path,
        )


def _most_inflated(file_bytes: int) -> int:
    return min(MAX_RATIO * file_bytes, max(BOMB_BYTES, MAX_LARGE_RATIO * file_bytes))
