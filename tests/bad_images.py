"""Bad images of every kind that we know, each with the code that must refuse it or tell of it.

``BAD`` must be refused; ``ODD`` must be read and told of. A new kind of damage seen in the wild
gets a line here first.
"""

from __future__ import annotations

import gzip
import os
import socket
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tests.image_bytes import (
    good_data,
    gz,
    nifti_bytes,
    pair_bytes,
    pair_written,
    with_orientations,
    written,
)
from tests.tiny_bids import tiny_affine

MIB = 1024**2


@dataclass(frozen=True)
class BadImage:
    """How to make it, below an empty folder, and what must be said of it."""

    kind: str
    code: str
    write: Callable[[Path], Path]


def _good() -> bytes:
    return gz(nifti_bytes(good_data()))


def _bytes(kind: str, code: str, content: Callable[[], bytes], name: str = "a.nii.gz") -> BadImage:
    return BadImage(kind, code, written(name, content))


def _header(kind: str, code: str, **fields: object) -> BadImage:
    return _bytes(kind, code, lambda: gz(nifti_bytes(good_data(), **fields)))


def _voxels(
    kind: str, code: str, change: Callable[[NDArray[np.float32]], None], dtype: str = "f4"
) -> BadImage:
    def content() -> bytes:
        data = good_data().astype(dtype)
        change(data)
        return gz(nifti_bytes(data))

    return _bytes(kind, code, content)


def _set(data: NDArray[np.float32], where: tuple[object, ...], value: object) -> None:
    data[where] = value


def _flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0x10
    return bytes(changed)


def _zeros(num_mib: int) -> bytes:
    """Return that many MiB of zeros as gzip members of 16 MiB: 1000:1, and quick to write."""
    return gzip.compress(bytes(16 * MIB), 9) * (num_mib // 16)


def _bomb(shape: tuple[int, ...], datatype: int, bitpix: int, num_mib: int) -> bytes:
    dim = (4, *shape)
    raw = nifti_bytes(good_data(), dim=dim, datatype=datatype, bitpix=bitpix)
    return gzip.compress(bytes(raw[:352])) + _zeros(num_mib)


def _link(target: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "a.nii.gz"
        path.symlink_to(target)
        return path

    return write


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "a.nii.gz")
    return folder / "a.nii.gz"


def _folder(folder: Path) -> Path:
    (folder / "a.nii.gz").mkdir()
    return folder / "a.nii.gz"


def _socket(folder: Path) -> Path:
    """Bind by a short relative name, since a socket's path may have 107 bytes."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("a.nii.gz")
    finally:
        os.chdir(here)
    return folder / "a.nii.gz"


def _sparse(folder: Path) -> Path:
    path = folder / "a.nii"
    with path.open("wb") as file:
        file.write(nifti_bytes(good_data(), dim=(4, 2048, 2048, 1024, 2)))
        file.truncate(352 + 2 * 2048 * 2048 * 1024 * 2)
    return path


NAMED_AS_IMAGES = (
    _bytes("empty file", "empty-file", lambda: b""),
    BadImage("link to nothing", "missing-image", _link("nowhere.nii.gz")),
    BadImage("link to itself", "missing-image", _link("a.nii.gz")),
    BadImage("absent", "missing-image", lambda folder: folder / "a.nii.gz"),
    BadImage("NUL in the name", "missing-image", lambda folder: folder / "a\0.nii.gz"),
    BadImage("folder", "not-a-file", _folder),
    BadImage("pipe", "not-a-file", _fifo),
    BadImage("socket", "not-a-file", _socket),
    BadImage("device", "not-a-file", _link("/dev/zero")),
    _bytes("web page", "web-page", lambda: b"<!DOCTYPE html><html>503 Slow Down</html>"),
    _bytes("web page as .nii", "web-page", lambda: b"\n<html>404</html>", "a.nii"),
    _bytes("S3 error", "web-page", lambda: b"<?xml version='1.0'?><Error>NoSuchKey</Error>"),
    _bytes("JSON error", "web-page", lambda: b'{"error": "forbidden"}'),
    _bytes("web page, gzipped", "not-nifti", lambda: gz(b"<html>404</html>" * 99)),
    _bytes("annex pointer", "pointer-file", lambda: b"/annex/objects/MD5E-s9--0f.nii.gz\n"),
    _bytes("annex pointer as .nii", "pointer-file", lambda: b"/annex/objects/MD5E\n", "a.nii"),
    _bytes("LFS pointer", "pointer-file", lambda: b"version https://git-lfs.github.com/spec/v1\n"),
    _bytes("text", "not-gzip", lambda: b"onset\tduration\n" * 99),
    _bytes("NIfTI without gzip as .gz", "not-gzip", lambda: bytes(nifti_bytes(good_data()))),
    _bytes("gzip as .nii", "gzip-without-gz", _good, "a.nii"),
    _bytes("DICOM as .nii", "not-nifti", lambda: bytes(128) + b"DICM" + bytes(999), "a.nii"),
    _bytes("HDF5 as .nii", "not-nifti", lambda: b"\x89HDF\r\n\x1a\n" + bytes(999), "a.nii"),
)

STREAMS = (
    _bytes("cut in half", "bad-gzip", lambda: _good()[: len(_good()) // 2]),
    _bytes("cut within the gzip header", "bad-gzip", lambda: _good()[:6]),
    _bytes("trailer cut by 4 bytes", "bad-gzip", lambda: _good()[:-4]),
    _bytes("trailer cut off", "bad-gzip", lambda: _good()[:-8]),
    _bytes("wrong CRC", "bad-gzip", lambda: _flip(_good(), -6)),
    _bytes("wrong length in the trailer", "bad-gzip", lambda: _flip(_good(), -2)),
    _bytes("one bit of the stream flipped", "bad-gzip", lambda: _flip(_good(), -200)),
    _bytes("unknown compression method", "bad-gzip", lambda: _flip(_good(), 2)),
    _bytes("bytes after the stream", "bad-gzip", lambda: _good() + b"more"),
    _bytes("second member damaged", "bad-gzip", lambda: _flip(_good() + gz(b"tail"), -6)),
    _bytes(
        "zlib stream as .gz", "not-gzip", lambda: zlib.compress(bytes(nifti_bytes(good_data())))
    ),
    _bytes("voxels cut, stream whole", "truncated", lambda: gz(nifti_bytes(good_data())[:-10])),
    _bytes("one byte short", "truncated", lambda: bytes(nifti_bytes(good_data())[:-1]), "a.nii"),
    _bytes("header alone", "truncated", lambda: bytes(nifti_bytes(good_data())[:352]), "a.nii"),
    _bytes("header cut", "not-nifti", lambda: bytes(nifti_bytes(good_data())[:100]), "a.nii"),
    _bytes(
        "3 MB too long",
        "trailing-data",
        lambda: bytes(nifti_bytes(good_data())) + bytes(3 * MIB),
        "a.nii",
    ),
    _bytes("bomb after the voxels", "trailing-data", lambda: _good() + _zeros(4096)),
    _bytes("bomb of 4 GiB", "too-large", lambda: _bomb((1024, 1024, 1024, 2), 4, 16, 4096)),
    _bytes(
        "bomb below the limit", "constant-image", lambda: _bomb((256, 256, 240, 4), 8, 32, 240)
    ),
    _bytes(
        "bomb before the voxels",
        "constant-image",
        lambda: gzip.compress(bytes(nifti_bytes(good_data(), vox_offset=5e7)[:352])) + _zeros(48),
    ),
    BadImage("sparse file of 16 GiB", "too-large", _sparse),
)

HEADERS = (
    _header("three dimensions", "not-4d", dim=(3,)),
    _header("five dimensions", "not-4d", dim=(5,)),
    _header("no dimensions", "not-4d", dim=(0,)),
    _header("negative side", "bad-dimensions", dim=(4, -7)),
    _header("side of 0", "bad-dimensions", dim=(4, 7, 0)),
    _header("side of 32767", "bad-dimensions", dim=(4, 7, 8, 9, 32767)),
    _header("sides beyond memory", "too-large", dim=(4, 4000, 4000, 4000, 4000)),
    _header("complex voxels", "bad-datatype", datatype=32, bitpix=64),
    _header("RGB voxels", "bad-datatype", datatype=128, bitpix=24),
    _header("128-bit voxels", "bad-datatype", datatype=1536, bitpix=128),
    _header("unknown datatype", "bad-datatype", datatype=999),
    _header("bitpix against datatype", "bad-datatype", bitpix=32),
    _header("voxels far away", "bad-offset", vox_offset=1e9),
    _header("voxels at NaN", "bad-offset", vox_offset=float("nan")),
    _header("voxels within the header", "bad-offset", vox_offset=348.0),
    _header("voxels before the file", "bad-offset", vox_offset=-352.0),
    _header("voxels at half a byte", "bad-offset", vox_offset=352.5),
    _header("slope NaN", "bad-scaling", scl_slope=float("nan")),
    _header("intercept infinite", "bad-scaling", scl_inter=float("inf")),
    _header("voxel size 0", "bad-voxel-size", pixdim=(1.0, 0.0)),
    _header("voxel size NaN", "bad-voxel-size", pixdim=(1.0, 5.0, float("nan"))),
    _header("sform NaN", "bad-affine", sform_code=1, srow=(float("nan"),) * 4),
    _header("sform singular", "bad-affine", sform_code=1, srow=(0.0,) * 4),
    _header("sform of kilometres", "bad-affine", sform_code=1, srow=(1e30,) * 4),
    _header(
        "qform no rotation", "bad-affine", sform_code=0, qform_code=1, quatern=(1.0, 1.0, 1.0)
    ),
    _header("wrong size of header", "not-nifti", sizeof_hdr=349),
    _header("wrong magic", "not-nifti", magic=b"abcd"),
    _header("header of a pair", "not-nifti", magic=b"ni1\0"),
    _bytes(
        "NIfTI-2 with line ends changed",
        "not-nifti",
        lambda: gz(
            nifti_bytes(good_data(), nib.Nifti2Image).replace(b"\r\n\x1a\n", b"\n\x1a\n\0")
        ),
    ),
    _bytes(
        "sform mirrors qform",
        "orientation-conflict",
        lambda: gz(
            with_orientations(tiny_affine(), np.diag([-1.0, 1, 1, 1]) @ tiny_affine(), (1, 1))
        ),
    ),
    _bytes(
        "template sform mirrors scanner qform",
        "orientation-conflict",
        lambda: gz(
            with_orientations(tiny_affine(), np.diag([-1.0, 1, 1, 1]) @ tiny_affine(), (4, 1))
        ),
    ),
    _bytes(
        "sform upside down against qform",
        "orientation-conflict",
        lambda: gz(
            with_orientations(tiny_affine(), np.diag([-1.0, 1, -1, 1]) @ tiny_affine(), (1, 1))
        ),
    ),
    _bytes(
        "scaling beyond float32",
        "scaling-overflow",
        lambda: gz(nifti_bytes(good_data(), scl_slope=3e38)),
    ),
    _bytes(
        "float64 beyond float32", "scaling-overflow", lambda: gz(nifti_bytes(good_data() * 1e300))
    ),
    _header("contrast lost in scaling", "constant-image", scl_slope=1e-30, scl_inter=1e6),
)


def _header_of_pair() -> bytearray:
    return pair_bytes(good_data())[0]


def _voxels_of_pair() -> bytearray:
    return pair_bytes(good_data())[1]


def _analyze() -> tuple[bytearray, bytearray]:
    return pair_bytes(good_data(), nib.AnalyzeImage)


PAIRS = (
    BadImage("voxels without header", "missing-partner", pair_written(None, _voxels_of_pair)),
    BadImage(
        "header without voxels",
        "missing-partner",
        pair_written(_header_of_pair, None, named="hdr"),
    ),
    BadImage(
        "Analyze 7.5",
        "analyze-format",
        pair_written(lambda: _analyze()[0], lambda: _analyze()[1]),
    ),
    BadImage(
        "voxels of a pair cut", "truncated", pair_written(_header_of_pair, lambda: b"\0" * 99)
    ),
    BadImage(
        "header of a pair cut",
        "not-nifti",
        pair_written(lambda: _header_of_pair()[:200], _voxels_of_pair),
    ),
    BadImage(
        "header of a single file in a pair",
        "not-nifti",
        pair_written(lambda: nifti_bytes(good_data())[:352], _voxels_of_pair),
    ),
    BadImage(
        "header's checksum wrong",
        "bad-gzip",
        pair_written(
            lambda: _flip(gz(_header_of_pair()), -6), lambda: gz(_voxels_of_pair()), ending=".gz"
        ),
    ),
    BadImage(
        "voxels' checksum wrong",
        "bad-gzip",
        pair_written(
            lambda: gz(_header_of_pair()), lambda: _flip(gz(_voxels_of_pair()), -6), ending=".gz"
        ),
    ),
)

CONTENTS = (
    _voxels("NaN in one volume", "not-finite", lambda d: _set(d, (3, 4, 5, 6), np.nan)),
    _voxels("one volume all NaN", "not-finite", lambda d: _set(d, (..., 4), np.nan)),
    _voxels("all NaN", "not-finite", lambda d: _set(d, (...,), np.nan)),
    _voxels(
        "NaN that wander", "not-finite", lambda d: _set(d, (range(7), 0, 0, range(7)), np.nan)
    ),
    _voxels("one infinite voxel", "not-finite", lambda d: _set(d, (3, 4, 5, 6), np.inf)),
    _voxels("minus infinity in all", "not-finite", lambda d: _set(d, (0, 0, 0), -np.inf)),
    _voxels("all zeros", "constant-image", lambda d: _set(d, (...,), 0), "i2"),
    _voxels("each volume flat", "constant-image", lambda d: _set(d, (...,), range(11)), "i2"),
    _voxels("one volume of zeros", "constant-volume", lambda d: _set(d, (..., 5), 0), "i2"),
    _voxels(
        "last volumes of zeros", "constant-volume", lambda d: _set(d, (..., [9, 10]), 0), "i2"
    ),
    _voxels("first volume of 4095", "constant-volume", lambda d: _set(d, (..., 0), 4095), "i2"),
    _voxels("frozen", "constant-in-time", lambda d: _set(d, (...,), d[..., :1].copy()), "i2"),
    _voxels(
        "slice of zeros", "lost-slice", lambda d: _set(d, (slice(None), slice(None), 4, 6), 0)
    ),
    _voxels(
        "slice of -1, often",
        "lost-slice",
        lambda d: _set(d, (slice(None), slice(None), 3, slice(2, 11)), -1),
        "i2",
    ),
)

BAD = (*NAMED_AS_IMAGES, *STREAMS, *HEADERS, *PAIRS, *CONTENTS)


def _moved(degrees: float, shift_mm: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    move = np.eye(4)
    move[:3, :3] = [[1, 0, 0], [0, c, -s], [0, s, c]]
    move[:3, 3] = shift_mm
    return np.asarray(move @ tiny_affine())


ODD = (
    _header("no orientation", "no-orientation", sform_code=0, qform_code=0),
    _bytes(
        "qform 5 mm away",
        "orientation-differs",
        lambda: gz(with_orientations(tiny_affine(), _moved(0, 5), (2, 1))),
    ),
    _bytes(
        "qform turned by 20 degrees",
        "orientation-differs",
        lambda: gz(with_orientations(tiny_affine(), _moved(20, 0), (1, 1))),
    ),
    _bytes(
        "template sform, patient upside down",
        "orientation-differs",
        lambda: gz(
            with_orientations(tiny_affine(), np.diag([-1.0, 1, -1, 1]) @ tiny_affine(), (4, 1))
        ),
    ),
    _header("qform no rotation, sform whole", "bad-qform", qform_code=1, quatern=(1.0, 1.0, 1.0)),
    _header("pixdim against sform", "voxel-size-differs", pixdim=(1.0, 4.0)),
    _header("metres", "not-millimetres", xyzt_units=1 + 8),
    _header("no units", "unknown-time-unit", xyzt_units=0),
    _header("fourth axis in hertz", "no-time-axis", xyzt_units=2 + 32),
    _voxels(
        "volume repeated", "repeated-volumes", lambda d: _set(d, (..., 5), d[..., 4].copy()), "i2"
    ),
    _voxels(
        "top slice lost at times",
        "edge-slice",
        lambda d: _set(d, (slice(None), slice(None), 8, [2, 3]), 0),
    ),
    _voxels("mask of NaN", "nan-voxels", lambda d: _set(d, (slice(0, 2),), np.nan)),
)
