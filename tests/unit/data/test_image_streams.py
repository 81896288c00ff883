"""Files of an image: which they are, what they hold in two digests, and that they stay still."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectrum.data.digests import file_state
from spectrum.data.image_streams import open_stream
from spectrum.data.images import (
    ImageDigest,
    digest_file,
    digest_image,
    image_files,
    read_bold,
    read_image_header,
    read_mask,
)
from spectrum.errors import ImageError
from tests.image_bytes import good_data, gz, nifti_bytes, pair_bytes
from tests.reading_worker import read_in_worker
from tests.tiny_bids import tiny_affine, write_nifti


def _write(path: Path, content: bytes | bytearray) -> Path:
    path.write_bytes(content)
    return path


def _pair(folder: Path, ending: str = "") -> Path:
    header, voxels = pair_bytes(good_data())
    squeeze = gz if ending else bytes
    _write(folder / f"a_bold.hdr{ending}", squeeze(header))
    return _write(folder / f"a_bold.img{ending}", squeeze(voxels))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_pair_is_read_by_either_name_and_equals_what_nibabel_reads(
    tmp_path: Path, ending: str
) -> None:
    path = _pair(tmp_path, ending)
    header, image = image_files(path)
    assert (header.name, image) == (f"a_bold.hdr{ending}", path)
    assert image_files(header) == (header, image)
    by_voxels, by_header = read_bold(path), read_bold(header)
    peer = nib.load(path)
    np.testing.assert_array_equal(by_voxels.data_XYZV, np.asarray(peer.dataobj))
    np.testing.assert_allclose(by_voxels.affine, peer.affine)
    np.testing.assert_array_equal(by_header.data_XYZV, by_voxels.data_XYZV)
    assert by_header.sha256 == by_voxels.sha256 == digest_file(path) == digest_file(header)
    assert read_image_header(header).shape == read_image_header(path).shape == peer.shape


def test_the_digest_of_a_pair_covers_both_files(tmp_path: Path) -> None:
    path = _pair(tmp_path)
    header = image_files(path)[0]
    both = header.read_bytes() + path.read_bytes()
    assert digest_file(path) == hashlib.sha256(both).hexdigest()
    before, state = read_bold(path), file_state(path)
    header.write_bytes(header.read_bytes() + bytes(16))
    after = read_bold(path)
    assert after.sha256 != before.sha256
    assert after.voxels_sha256 == before.voxels_sha256
    assert file_state(path) != state


def test_a_pair_with_voxels_after_a_gap_is_read(tmp_path: Path) -> None:
    header, voxels = pair_bytes(good_data())
    header[108:112] = np.float32(64).tobytes()
    _write(tmp_path / "a.hdr", header)
    path = _write(tmp_path / "a.img", bytes(64) + voxels)
    np.testing.assert_array_equal(read_bold(path).data_XYZV, good_data())


def test_a_mask_may_be_a_pair(tmp_path: Path) -> None:
    mask = (good_data()[..., 0] > 500).astype(np.uint8)
    nib.save(nib.Nifti1Pair(mask, tiny_affine()), tmp_path / "mask.img")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.img")[0], mask > 0)


def test_the_digest_of_voxels_is_the_same_in_every_container(tmp_path: Path) -> None:
    raw = nifti_bytes(good_data())
    other_place = nib.Nifti1Image(good_data(), 2 * tiny_affine()).to_bytes()
    big = nib.Nifti1Header(endianness=">")
    big.set_data_dtype(">i2")
    paths = [
        _write(tmp_path / "plain.nii", raw),
        _write(tmp_path / "soft.nii.gz", gz(raw, level=1)),
        _write(tmp_path / "hard.nii.gz", gz(raw, level=9)),
        _write(tmp_path / "members.nii.gz", gzip.compress(raw[:999]) + gzip.compress(raw[999:])),
        _write(tmp_path / "two.nii", nifti_bytes(good_data(), nib.Nifti2Image)),
        _write(tmp_path / "moved.nii", other_place),
        _write(tmp_path / "big.nii", nib.Nifti1Image(good_data(), None, big).to_bytes()),
        _pair(tmp_path, ".gz"),
    ]
    images = [read_bold(path) for path in paths]
    assert len({image.voxels_sha256 for image in images}) == 1
    assert len({image.sha256 for image in images}) == len(images)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: np.flip(data, axis=0),
        lambda data: data[..., :-1],
        lambda data: data.astype(np.int32),
        lambda data: np.asarray(data.reshape((8, 7, 9, 11), order="F")),
        lambda data: data + np.eye(7, 8, dtype=np.int16)[..., None, None],
    ],
    ids=["flipped", "shorter", "int32", "other sides", "one diagonal"],
)
def test_the_digest_of_voxels_knows_other_voxels(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    one = _write(tmp_path / "one.nii", nifti_bytes(good_data()))
    two = _write(tmp_path / "two.nii", nifti_bytes(change(good_data())))
    three = _write(tmp_path / "three.nii", nifti_bytes(good_data(), scl_slope=2.0))
    digests = {digest_image(path).voxels_sha256 for path in (one, two, three)}
    assert len(digests) == 3


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_streaming_gives_the_digests_of_reading_and_travels_between_processes(
    tmp_path: Path, name: str
) -> None:
    path = write_nifti(tmp_path / name, good_data().astype(">f4"))
    image, told = read_bold(path), digest_image(path)
    assert told == ImageDigest(sha256=image.sha256, voxels_sha256=image.voxels_sha256)
    assert pickle.loads(pickle.dumps(told)) == told  # noqa: S301 - our own bytes, as a pool sends


def test_streaming_refuses_what_reading_refuses(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", good_data())
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        digest_image(path)
    assert caught.value.code == "bad-gzip"


def test_streaming_takes_a_few_megabytes_whatever_the_image(tmp_path: Path) -> None:
    data = np.zeros((64, 64, 32, 200), np.int16)
    data[..., ::2] = 7
    path = _write(tmp_path / "large.nii.gz", gzip.compress(nifti_bytes(data), 1))
    told = read_in_worker([path], does="digest")
    assert told["results"][0]["outcome"] == "read"
    assert told["peak_bytes"] < 8 * 1024**2 < data.nbytes


def test_a_digest_of_a_pipe_is_refused_and_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "confounds.tsv")
    with pytest.raises(ImageError) as caught:
        digest_file(tmp_path / "confounds.tsv")
    assert caught.value.code == "not-a-file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_this_user_may_not_read_is_named(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", good_data())
    path.chmod(0)
    with pytest.raises(ImageError, match="permissions") as caught:
        read_bold(path)
    assert caught.value.code == "no-permission"


class _Writer:
    """Stands where a digest does, and writes the file once while it is read."""

    def __init__(self, write: Callable[[], object]) -> None:
        self._write = write
        self._is_done = False

    def update(self, data: object, /) -> None:
        if not self._is_done:
            self._is_done = True
            self._write()


@pytest.mark.parametrize("change", ["grows", "shrinks", "is written over"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    path = _write(tmp_path / "a.nii", nifti_bytes(good_data()) + bytes(3 * 1024**2))
    size = path.stat().st_size

    def write() -> None:
        with path.open("r+b") as file:
            file.seek(0 if change == "is written over" else size)
            file.write(b"\1")
            if change == "shrinks":
                file.truncate(size - 99)
        os.utime(path, ns=(1, 1))

    def read_all() -> None:
        with open_stream(path, _Writer(write)) as stream:
            while stream.read(1024**2):
                pass

    with pytest.raises(ImageError) as caught:
        read_all()
    assert caught.value.code == "changed-while-reading"
    assert str(size) in caught.value.message
