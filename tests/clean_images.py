"""Images that are sound, in every legal form that we know: none may be refused or told of."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tests.image_bytes import (
    FIELDS,
    good_data,
    gz,
    nifti_bytes,
    pair_bytes,
    pair_written,
    with_orientations,
    written,
)
from tests.tiny_bids import tiny_affine, tiny_data


@dataclass(frozen=True)
class CleanImage:
    """How to make it below an empty folder."""

    kind: str
    write: Callable[[Path], Path]


def _bytes(kind: str, content: Callable[[], bytes], name: str = "a.nii.gz") -> CleanImage:
    return CleanImage(kind, written(name, content))


def masked_data(*, share_of_slices: float = 0.6) -> NDArray[np.float32]:
    """A run as fMRIPrep masks it: zeros outside the brain, so that edge slices are all zero."""
    data = tiny_data(12, seed=3, shape=(11, 13, 10)).astype(np.float32)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, side) for side in data.shape[:3]], indexing="ij")
    brain = (x**2 + y**2 + (z / share_of_slices) ** 2) < 0.7
    return np.where(brain[..., None], data, np.float32(0.0))


def one_voxel_mask() -> NDArray[np.int16]:
    """A region of a few voxels in unconnected slices, one of which is 0 in one volume."""
    data = np.zeros((7, 8, 9, 11), np.int16)
    for z in (1, 4, 7):
        data[3, 4, z] = 900 + np.random.default_rng(z).integers(-20, 20, 11)
    data[3, 4, 4, 6] = 0
    return data


def standardised() -> NDArray[np.float32]:
    """Zero mean and unit variance per voxel, as some derivatives are."""
    data = tiny_data(20, seed=4).astype(np.float32)
    return (data - data.mean(axis=3, keepdims=True)) / data.std(axis=3, keepdims=True)


def saturated() -> NDArray[np.int16]:
    """Half of the head at the largest value of a 12-bit converter."""
    return np.where(good_data() > 1000, np.int16(4095), good_data())


def _members() -> bytes:
    raw = bytes(nifti_bytes(good_data()))
    return b"".join(gzip.compress(raw[i : i + 1000]) for i in range(0, len(raw), 1000))


def _extended() -> bytes:
    image = nib.Nifti1Image(good_data(), tiny_affine())
    image.header.set_xyzt_units("mm", "sec")
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"two lines\n" * 50))
    return gz(image.to_bytes())


def _big_endian() -> bytes:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    header.set_xyzt_units("mm", "sec")
    return gz(nib.Nifti1Image(good_data(), tiny_affine(), header).to_bytes())


def _oblique() -> NDArray[np.float64]:
    """Axes turned by 20 degrees, first one to the left, as scanners write them."""
    c, s = np.cos(0.35), np.sin(0.35)
    turn = np.array([[-1, 0, 0, 40.0], [0, c, -s, -50.0], [0, s, c, -30.0], [0, 0, 0, 1]])
    return np.asarray(turn @ np.diag([3.125, 3.125, 5.0, 1.0]))


def _of_kind(dtype: str) -> CleanImage:
    return _bytes(f"voxels {dtype}", lambda: gz(nifti_bytes((good_data() // 9).astype(dtype))))


def _with(kind: str, **fields: object) -> CleanImage:
    assert set(fields) <= set(FIELDS)
    return _bytes(kind, lambda: gz(nifti_bytes(good_data(), **fields)))


def _pair(kind: str, ending: str, image: type, named: str) -> CleanImage:
    squeeze = gz if ending else bytes
    header, voxels = (lambda i=i: squeeze(pair_bytes(good_data(), image)[i]) for i in (0, 1))
    return CleanImage(kind, pair_written(header, voxels, ending=ending, named=named))


CLEAN = (
    *map(_of_kind, ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8")),
    _bytes("big-endian", _big_endian),
    _bytes("NIfTI-2", lambda: gz(nifti_bytes(good_data(), nib.Nifti2Image))),
    _bytes("not compressed", lambda: bytes(nifti_bytes(good_data())), "a.nii"),
    _bytes("stored, not deflated", lambda: gz(nifti_bytes(good_data()), level=0)),
    _bytes("deflated hard", lambda: gz(nifti_bytes(good_data()), level=9)),
    _bytes("many gzip members", _members),
    _bytes("zeros after the stream", lambda: gz(nifti_bytes(good_data())) + bytes(512)),
    _bytes("some padding", lambda: bytes(nifti_bytes(good_data())) + bytes(160), "a.nii"),
    _bytes("header extension", _extended),
    _pair("pair", "", nib.Nifti1Pair, "img"),
    _pair("pair, by its header", "", nib.Nifti1Pair, "hdr"),
    _pair("pair, compressed", ".gz", nib.Nifti1Pair, "img"),
    _pair("pair, NIfTI-2", ".gz", nib.Nifti2Pair, "hdr"),
    _with("slope and intercept", scl_slope=0.25, scl_inter=-100.0),
    _with("slope 0", scl_slope=0.0),
    _with("milliseconds", xyzt_units=2 + 16, pixdim=(1.0, 5.0, 6.0, 7.0, 2000.0)),
    _with("no TR", pixdim=(1.0, 5.0, 6.0, 7.0, 0.0)),
    _with("qfac 0", pixdim=(0.0,), sform_code=0, qform_code=1),
    _with("qform alone", sform_code=0, qform_code=1),
    _with("sform alone", sform_code=4, qform_code=0),
    _bytes("oblique", lambda: gz(with_orientations(_oblique(), _oblique(), (1, 1)))),
    _bytes("in a template", lambda: gz(with_orientations(tiny_affine(), tiny_affine(), (4, 4)))),
    _bytes("masked as by fMRIPrep", lambda: gz(nifti_bytes(masked_data()))),
    _bytes("masked to thin slices", lambda: gz(nifti_bytes(masked_data(share_of_slices=0.3)))),
    _bytes("masked, whole numbers", lambda: gz(nifti_bytes(masked_data().astype(np.int16)))),
    _bytes("masked to three voxels", lambda: gz(nifti_bytes(one_voxel_mask()))),
    _bytes("standardised", lambda: gz(nifti_bytes(standardised()))),
    _bytes("saturated", lambda: gz(nifti_bytes(saturated()))),
    _bytes("one slice", lambda: gz(nifti_bytes(tiny_data(11, seed=1, shape=(7, 8, 1))))),
    _bytes("one volume", lambda: gz(nifti_bytes(tiny_data(1, seed=1)))),
    _bytes("two volumes", lambda: gz(nifti_bytes(tiny_data(2, seed=1)))),
    _bytes("one column", lambda: gz(nifti_bytes(tiny_data(11, seed=1, shape=(1, 8, 9))))),
)
