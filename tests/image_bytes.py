"""Images as bytes, to be damaged: headers by field, gzip members, pairs."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tests.tiny_bids import tiny_affine, tiny_data

SHAPE = (7, 8, 9, 11)

FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}
"""Byte and struct format of fields of a little-endian NIfTI-1 header (nifti1.h)."""


def good_data() -> NDArray[np.int16]:
    """Head and air of unequal sides."""
    return tiny_data(SHAPE[3], seed=1)


def nifti_bytes(data: NDArray[Any], kind: Any = None, **fields: Any) -> bytearray:
    """Return a single-file image, little-endian NIfTI-1 unless told, with fields set anew."""
    image = (kind or nib.Nifti1Image)(data, tiny_affine(), dtype=data.dtype)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header["pixdim"][4] = 2.0
    raw = bytearray(image.to_bytes())
    for name, value in fields.items():
        set_field(raw, name, value)
    return raw


def set_field(raw: bytearray, name: str, value: Any) -> None:
    """Write a field; of a field of many numbers, only those given."""
    offset, form = FIELDS[name]
    values = value if isinstance(value, tuple) else (value,)
    one = form.lstrip("0123456789")
    form = form if one == "s" else f"{len(values)}{one}"
    struct.pack_into(f"<{form}", raw, offset, *values)


def with_orientations(
    sform: NDArray[np.float64], qform: NDArray[np.float64], codes: tuple[int, int]
) -> bytes:
    """Return an image whose sform and qform are set apart; codes in that order."""
    image = nib.Nifti1Image(good_data(), sform)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    return bytes(image.to_bytes())


def pair_bytes(data: NDArray[Any], kind: Any = None) -> tuple[bytearray, bytearray]:
    """Return header and voxels of a pair."""
    image = (kind or nib.Nifti1Pair)(data, tiny_affine())
    if hasattr(image.header, "set_xyzt_units"):
        image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    header, voxels = io.BytesIO(), io.BytesIO()
    image.file_map["header"].fileobj = header
    image.file_map["image"].fileobj = voxels
    image.to_file_map()
    return bytearray(header.getvalue()), bytearray(voxels.getvalue())


def gz(raw: bytes | bytearray, *, level: int = 6) -> bytes:
    """Compress with a name and a fixed time, as ``gzip`` does."""
    out = io.BytesIO()
    with gzip.GzipFile("a_bold.nii", "wb", level, out, mtime=1_000_000_000) as file:
        file.write(bytes(raw))
    return out.getvalue()


def written(name: str, content: Callable[[], bytes | bytearray]) -> Callable[[Path], Path]:
    """Return what writes one file below a folder and returns its path."""

    def write(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content())
        return path

    return write


def pair_written(
    header: Callable[[], bytes | bytearray] | None,
    voxels: Callable[[], bytes | bytearray] | None,
    *,
    ending: str = "",
    named: str = "img",
) -> Callable[[Path], Path]:
    """Return what writes a pair, or half of one, and returns the path named."""

    def write(folder: Path) -> Path:
        for kind, content in (("hdr", header), ("img", voxels)):
            if content is not None:
                (folder / f"a_bold.{kind}{ending}").write_bytes(content())
        return folder / f"a_bold.{named}{ending}"

    return write
