"""NIfTI headers, judged before a byte of the image is allocated.

Everything here works on the first bytes of a file and on its size. Not here: reading voxels
(``images``), and which TR is right where header and sidecar differ (``bids``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import ImageError

__all__ = ["HEADER_BYTES", "ImageHeader", "parse_header"]

HEADER_BYTES: Final = 540
"""Bytes of a NIfTI-2 header (nifti2.h); a NIfTI-1 header has 348 (nifti1.h)."""

MAX_SIDE: Final = 4096
"""Largest side taken for real: scanners make 512 voxels and a few thousand volumes at most."""

MAX_BYTES: Final = 8 * 1024**3
"""Largest image, uncompressed."""

MAX_RATIO: Final = 1100
"""Largest uncompressed over compressed size: deflate reaches 1032:1 (zlib's technical details)."""

MAX_EXTENSION_BYTES: Final = 64 * 1024**2
"""Largest distance from the header to the voxels."""

DTYPES: Final = frozenset({"u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"})
"""Kinds of voxels that are numbers on one line; complex, RGB and 128-bit voxels are refused."""

SECONDS_OF_UNIT: Final = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
"""Time codes of ``xyzt_units`` (nifti1.h): unknown, seconds, milliseconds, microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """What a checked header says.

    ``shape`` has 3 or 4 sides; ``affine`` is (4, 4), voxel indices to millimetres, finite and not
    singular; ``tr_s`` is None where the header tells none; ``dtype`` keeps the byte order of the
    file; ``offset`` is where the voxels begin; a slope of 1 and an intercept of 0 mean raw values.
    """

    shape: tuple[int, ...]
    voxel_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    tr_s: float | None
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int

    @property
    def num_bytes(self) -> int:
        """Bytes of the voxels alone."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(
    first_bytes: bytes, *, file_bytes: int, compressed: bool, path: str
) -> ImageHeader:
    """Read and check a NIfTI-1 or NIfTI-2 header.

    Parameters
    ----------
    first_bytes : the first ``HEADER_BYTES`` of the uncompressed file, or all of a shorter one
    file_bytes : size of the file on disk
    compressed : whether that size is of a gzip file
    path : names the file in errors

    Raises
    ------
    ImageError
        ``not-nifti``, ``not-4d``, ``bad-dimensions``, ``bad-datatype``, ``too-large``,
        ``bad-affine``, ``bad-scaling`` or ``bad-offset``.
    """
    raw = _parse(first_bytes, path)
    shape = _check_shape(raw, path)
    dtype = _check_dtype(raw, path)
    slope, intercept = _check_scaling(raw, path)
    affine = _check_affine(raw, path)
    header = ImageHeader(
        shape=shape,
        voxel_mm=_voxel_mm(affine),
        affine=affine,
        tr_s=_tr_s(raw),
        dtype=dtype,
        slope=slope,
        intercept=intercept,
        offset=_check_offset(raw, path),
    )
    _check_size(header, file_bytes=file_bytes, compressed=compressed, path=path)
    return header


def _parse(first_bytes: bytes, path: str) -> Any:
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    for kind, magic in ((nib.Nifti1Header, b"n+1\0"), (nib.Nifti2Header, b"n+2\0")):
        size = kind.template_dtype.itemsize
        start = 344 if size == 348 else 4
        if len(first_bytes) >= size and first_bytes[start : start + 4] == magic:
            try:
                return kind(first_bytes[:size], check=False)
            except (HeaderDataError, ValueError):
                break
    raise ImageError(
        f"{path} does not begin with a NIfTI header (its first bytes are {first_bytes[:8]!r}). "
        "Expected a single-file NIfTI-1 or NIfTI-2 image; fetch or convert the file again.",
        code="not-nifti",
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


def _check_affine(raw: Any, path: str) -> NDArray[np.float64]:
    from nibabel.spatialimages import HeaderDataError

    try:
        affine = np.asarray(raw.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        affine = np.full((4, 4), np.nan)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(
            f"{path} has no usable orientation (sform, qform or voxel sizes). "
            "Its affine must be finite and not singular; repair the header.",
            code="bad-affine",
            path=path,
        )
    return affine


def _voxel_mm(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return round(float(x), 6), round(float(y), 6), round(float(z), 6)


def _tr_s(raw: Any) -> float | None:
    if int(raw["dim"][0]) < 4:
        return None
    unit_s = SECONDS_OF_UNIT.get(int(raw["xyzt_units"]) & 0x38, math.nan)
    tr_s = float(raw["pixdim"][4]) * unit_s
    return round(tr_s, 9) if math.isfinite(tr_s) and tr_s > 0 else None


def _check_offset(raw: Any, path: str) -> int:
    offset = float(raw["vox_offset"])
    least = int(raw["sizeof_hdr"])
    if not math.isfinite(offset) or not least <= offset <= least + MAX_EXTENSION_BYTES:
        raise ImageError(
            f"{path} says that its voxels begin at byte {offset:g}. "
            f"Expected {least} or a little more; the header is damaged.",
            code="bad-offset",
            path=path,
        )
    return int(offset)


def _check_size(header: ImageHeader, *, file_bytes: int, compressed: bool, path: str) -> None:
    num_bytes = header.offset + header.num_bytes
    most = min(MAX_BYTES, MAX_RATIO * file_bytes) if compressed else MAX_BYTES
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
