"""Images: the whole stream is read, and what is wrong is refused before it costs memory."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectrum.data.images import digest_file, read_bold, read_image_header, read_mask
from spectrum.errors import ImageError
from tests.tiny_bids import tiny_affine, tiny_data, write_nifti

SHAPE = (7, 8, 9, 11)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "a_bold.nii.gz", tiny_data(11, seed=1), tr_s=2.5)


def _raw(path: Path) -> bytearray:
    return bytearray(gzip.decompress(path.read_bytes()))


def _rewrite(path: Path, change: Callable[[bytearray], None]) -> Path:
    raw = _raw(path)
    change(raw)
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def _refusal(path: Path) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_bold(path)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "<u2", ">i2", "i4", ">f4", "f8"])
def test_voxels_affine_tr_and_digest_are_those_of_nibabel(
    tmp_path: Path, ending: str, dtype: str
) -> None:
    data = np.random.default_rng(3).integers(0, 250, SHAPE).astype(dtype)
    path = write_nifti(tmp_path / f"a{ending}", data, tr_s=1.75)
    peer = nib.load(path)
    image = read_bold(path)
    np.testing.assert_allclose(image.data_XYZV, np.asarray(peer.dataobj), rtol=1e-6)
    np.testing.assert_allclose(image.affine, peer.affine)
    assert image.voxel_mm == (5.0, 6.0, 7.0)
    assert image.tr_s == pytest.approx(1.75)
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == digest_file(path)
    assert image.data_XYZV.dtype in (np.int16, np.float32)
    assert image.data_XYZV.dtype.isnative
    assert image.data_XYZV.flags.f_contiguous


def test_slope_and_intercept_are_applied(image: Path) -> None:
    before = read_bold(image).data_XYZV

    def scale(raw: bytearray) -> None:
        raw[112:120] = struct.pack("<ff", 0.5, -3.0)

    after = read_bold(_rewrite(image, scale))
    np.testing.assert_allclose(after.data_XYZV, before * 0.5 - 3.0)


def test_a_slope_of_zero_means_raw_values(image: Path) -> None:
    before = read_bold(image).data_XYZV

    def unscaled(raw: bytearray) -> None:
        raw[112:116] = struct.pack("<f", 0.0)

    np.testing.assert_array_equal(read_bold(_rewrite(image, unscaled)).data_XYZV, before)


def test_nifti2_and_milliseconds_are_read(tmp_path: Path) -> None:
    peer = nib.Nifti2Image(tiny_data(11, seed=2), tiny_affine())
    peer.header.set_xyzt_units("mm", "msec")
    peer.header["pixdim"][4] = 2500.0
    nib.save(peer, tmp_path / "two.nii.gz")
    image = read_bold(tmp_path / "two.nii.gz")
    assert image.tr_s == pytest.approx(2.5)
    np.testing.assert_array_equal(image.data_XYZV, np.asarray(peer.dataobj))


def test_a_header_without_tr_gives_none(tmp_path: Path) -> None:
    assert read_bold(write_nifti(tmp_path / "a.nii", tiny_data(3, seed=1), tr_s=0.0)).tr_s is None


def test_one_slice_and_one_volume_are_an_image(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", tiny_data(1, seed=1, shape=(7, 8, 1)))
    assert read_bold(path).data_XYZV.shape == (7, 8, 1, 1)


def test_every_flipped_bit_is_refused_or_changes_no_voxel(image: Path) -> None:
    good = read_bold(image)
    raw = image.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for position in rng.integers(0, 8 * len(raw), 300):
        damaged = bytearray(raw)
        damaged[position // 8] ^= 1 << (position % 8)
        image.write_bytes(damaged)
        try:
            found = read_bold(image)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.data_XYZV, good.data_XYZV)
            np.testing.assert_array_equal(found.affine, good.affine)
    assert refused > 270


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda raw: raw[: len(raw) // 2], "bad-gzip"),
        (lambda raw: raw[:-4], "bad-gzip"),
        (lambda raw: raw[:-8] + bytes([raw[-8] ^ 1]) + raw[-7:], "bad-gzip"),
        (lambda raw: raw + b"more", "bad-gzip"),
        (lambda raw: b"", "empty-file"),
        (lambda raw: b"<html>503 Slow down</html>", "web-page"),
        (lambda raw: b"/annex/objects/MD5E-s1--0.nii.gz\n", "pointer-file"),
        (lambda raw: gzip.compress(b"<html>a page</html>" * 100), "not-nifti"),
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-10]), "truncated"),
        (lambda raw: gzip.compress(gzip.decompress(raw) + bytes(3_000_000)), "trailing-data"),
    ],
)
def test_a_damaged_file_is_refused_with_its_code(
    image: Path, damage: Callable[[bytes], bytes], code: str
) -> None:
    image.write_bytes(damage(image.read_bytes()))
    assert _refusal(image).code == code


def test_zeros_after_the_stream_are_padding(image: Path) -> None:
    image.write_bytes(image.read_bytes() + bytes(512))
    assert read_bold(image).data_XYZV.shape == SHAPE


@pytest.mark.parametrize(
    ("position", "value", "code"),
    [
        (40, struct.pack("<h", 5), "not-4d"),
        (40, struct.pack("<h", 0), "not-4d"),
        (42, struct.pack("<h", -7), "bad-dimensions"),
        (42, struct.pack("<h", 0), "bad-dimensions"),
        (48, struct.pack("<h", 5000), "bad-dimensions"),
        (42, struct.pack("<hhh", 4000, 4000, 4000), "too-large"),
        (70, struct.pack("<h", 32), "bad-datatype"),
        (70, struct.pack("<h", 128), "bad-datatype"),
        (70, struct.pack("<h", 999), "bad-datatype"),
        (72, struct.pack("<h", 8), "bad-datatype"),
        (108, struct.pack("<f", 1e9), "bad-offset"),
        (108, struct.pack("<f", float("nan")), "bad-offset"),
        (112, struct.pack("<f", float("nan")), "bad-scaling"),
        (116, struct.pack("<f", float("inf")), "bad-scaling"),
        (280, struct.pack("<4f", *[float("nan")] * 4), "bad-affine"),
        (280, struct.pack("<4f", *[0.0] * 4), "bad-affine"),
        (344, b"abcd", "not-nifti"),
    ],
)
def test_a_header_that_cannot_be_is_refused(
    image: Path, position: int, value: bytes, code: str
) -> None:
    def change(raw: bytearray) -> None:
        raw[position : position + len(value)] = value

    _rewrite(image, change)
    assert _refusal(image).code == code
    if code != "not-4d":
        with pytest.raises(ImageError):
            read_image_header(image)


def test_a_claim_beyond_any_compression_is_refused_before_memory_is_asked_for(
    tmp_path: Path,
) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", np.zeros((4, 4, 4, 2), np.int16))

    def claim(raw: bytearray) -> None:
        raw[42:50] = struct.pack("<hhhh", 1000, 1000, 1000, 2)

    error = _refusal(_rewrite(path, claim))
    assert error.code == "too-large"
    assert "4000000352" in error.message


def test_an_uncompressed_file_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", tiny_data(11, seed=1))
    path.write_bytes(path.read_bytes()[:-1])
    assert _refusal(path).code == "truncated"


def test_a_three_dimensional_image_is_no_run_but_a_mask(tmp_path: Path) -> None:
    mask = tiny_data(1, seed=1)[..., 0] > 500
    path = write_nifti(tmp_path / "mask.nii.gz", mask.astype(np.uint8))
    assert _refusal(path).code == "not-4d"
    found, affine, sha256 = read_mask(path)
    np.testing.assert_array_equal(found, mask)
    np.testing.assert_allclose(affine, tiny_affine())
    assert sha256 == digest_file(path)
    assert read_image_header(path).shape == (7, 8, 9)


def test_an_absent_file_and_a_dangling_link_are_named(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "none.nii.gz").code == "missing-image"
    link = tmp_path / "annex.nii.gz"
    link.symlink_to(tmp_path / "nowhere")
    error = _refusal(link)
    assert error.code == "missing-image"
    assert "a link to nothing" in error.message


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    assert _refusal(tmp_path / "folder.nii.gz").code == "not-a-file"


def test_real_images_equal_what_nibabel_reads(realdata: Path) -> None:
    paths = sorted((realdata / "bold").rglob("*.nii*"))
    assert len(paths) > 20
    for path in paths:
        peer = nib.load(path)
        if len(peer.shape) != 4:
            assert _refusal(path).code == "not-4d"
            continue
        image = read_bold(path)
        np.testing.assert_allclose(
            image.data_XYZV, np.asarray(peer.dataobj, dtype=np.float32), rtol=1e-6
        )
        np.testing.assert_allclose(image.affine, peer.affine)


def test_no_header_byte_makes_anything_but_an_image_or_a_named_refusal(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", tiny_data(11, seed=1))
    raw = path.read_bytes()
    rng = np.random.default_rng(6)
    for _ in range(800):
        damaged = bytearray(raw)
        for position in rng.integers(0, 352, 2):
            damaged[position] = int(rng.integers(256))
        path.write_bytes(damaged)
        codes: set[str] = set()
        try:
            image = read_bold(path)
        except ImageError as error:
            codes.add(error.code)
        else:
            assert np.isfinite(image.affine).all()
            assert image.data_XYZV.nbytes <= 4 * len(raw)
        assert "unreadable" not in codes
