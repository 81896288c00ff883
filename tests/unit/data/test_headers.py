"""Headers: whatever the bytes, the answer is a header that holds or an ImageError."""

from __future__ import annotations

import warnings
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.headers import HEADER_BYTES, MAX_BYTES, ImageHeader, parse_header
from spectrum.errors import ImageError
from tests.image_bytes import FIELDS, good_data, nifti_bytes, set_field, with_orientations
from tests.tiny_bids import tiny_affine

GOOD = {kind: bytes(nifti_bytes(good_data(), kind)) for kind in (None, nib.Nifti2Image)}


def _parsed(first: bytes, **told: Any) -> ImageHeader | None:
    """Parse; anything but an ImageError with code and path, a numpy warning too, is an error."""
    settings = {"file_bytes": 20_000, "compressed": True, "path": "a.nii.gz", **told}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            header = parse_header(first, **settings)
        except ImageError as err:
            header, refusal = None, err
    if header is None:
        assert (refusal.path, bool(refusal.code)) == ("a.nii.gz", True)
        return None
    assert np.isfinite(header.affine).all()
    assert min(header.shape) > 0
    assert header.offset >= 0
    assert header.num_bytes <= MAX_BYTES
    assert np.isfinite([header.slope, header.intercept]).all()
    assert header.tr_s is None or header.tr_s > 0
    return header


@settings(max_examples=500, deadline=None)
@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES), st.booleans())
def test_no_540_bytes_raise_anything_but_an_image_error(first: bytes, is_pair: bool) -> None:
    _parsed(first, is_pair=is_pair)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(list(GOOD)),
    st.lists(st.tuples(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255)), max_size=12),
)
def test_no_changed_bytes_of_a_good_header_raise_anything_but_an_image_error(
    kind: Any, changes: list[tuple[int, int]]
) -> None:
    first = bytearray(GOOD[kind][:HEADER_BYTES])
    for position, value in changes:
        first[position] = value
    _parsed(bytes(first))


FLOATS = st.floats(width=32)
SHORTS = st.integers(-(2**15), 2**15 - 1)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_numbers_in_the_fields_raise_anything_but_an_image_error(drawn: st.DataObject) -> None:
    first = bytearray(GOOD[None][:HEADER_BYTES])
    for name in drawn.draw(st.sets(st.sampled_from(sorted(set(FIELDS) - {"magic"})), max_size=6)):
        form = FIELDS[name][1]
        count = int(form[:-1] or 1)
        one = {"f": FLOATS, "h": SHORTS, "i": SHORTS, "B": st.integers(0, 255)}[form[-1]]
        set_field(first, name, tuple(drawn.draw(st.tuples(*[one] * count))))
    _parsed(bytes(first))


@pytest.mark.parametrize("kind", GOOD)
def test_a_header_cut_at_any_byte_is_refused(kind: Any) -> None:
    size = 348 if kind is None else 540
    for count in range(size):
        assert _parsed(GOOD[kind][:count]) is None
    assert _parsed(GOOD[kind][:size]) is not None


def _turned(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[c, -s], [s, c]]
    return np.asarray(turn @ tiny_affine())


def _codes(sform: Any, qform: Any, codes: tuple[int, int]) -> list[str]:
    header = _parsed(with_orientations(sform, qform, codes)[:HEADER_BYTES])
    return ["refused"] if header is None else [finding.code for finding in header.findings]


@settings(deadline=None)
@given(st.floats(-180, 180), st.integers(1, 4), st.integers(1, 4))
def test_two_orientations_agree_differ_or_contradict_by_how_far_they_are_turned(
    degrees: float, sform_code: int, qform_code: int
) -> None:
    codes = _codes(tiny_affine(), _turned(degrees), (sform_code, qform_code))
    if abs(degrees) < 0.5:
        assert codes == []
    elif abs(degrees) > 46 and sform_code == qform_code:
        assert codes == ["refused"]
    elif 5 < abs(degrees) < 44 or (abs(degrees) > 5 and sform_code != qform_code):
        assert codes == ["orientation-differs"]


@settings(deadline=None)
@given(st.floats(-180, 180), st.sampled_from([(1, 1), (4, 1), (2, 1), (1, 4)]))
def test_mirror_images_contradict_whatever_their_codes_and_their_angle(
    degrees: float, codes: tuple[int, int]
) -> None:
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]) @ _turned(degrees)
    assert _codes(tiny_affine(), mirrored, codes) == ["refused"]


def test_an_orientation_that_is_not_set_contradicts_nothing() -> None:
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]) @ tiny_affine()
    assert _codes(tiny_affine(), mirrored, (1, 0)) == []
    assert _codes(mirrored, tiny_affine(), (0, 1)) == []


def test_the_sform_is_taken_before_the_qform_as_in_nibabel() -> None:
    content = with_orientations(tiny_affine(), _turned(20), (2, 1))
    header = _parsed(content[:HEADER_BYTES])
    assert header is not None
    np.testing.assert_allclose(header.affine, nib.Nifti1Image.from_bytes(content).affine)
    np.testing.assert_allclose(header.affine, tiny_affine())


@pytest.mark.parametrize(
    ("file_bytes", "shape", "is_believed"),
    [
        (7_149, (64, 64, 26, 10), True),
        (240_000, (512, 512, 500, 1), True),
        (260_000, (512, 512, 512, 2), False),
        (2_000_000, (512, 512, 512, 2), False),
        (6_000_000, (512, 512, 512, 2), True),
    ],
)
def test_a_large_image_is_believed_at_a_hundredfold_a_small_one_at_any_ratio(
    file_bytes: int, shape: tuple[int, ...], is_believed: bool
) -> None:
    first = nifti_bytes(good_data(), dim=(4, *shape))[:HEADER_BYTES]
    assert (_parsed(bytes(first), file_bytes=file_bytes) is not None) == is_believed
