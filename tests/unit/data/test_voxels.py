"""Contents: what is lost is found wherever it is, and noise, masks and edges are no fault."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.voxels import check_voxels
from tests.clean_images import masked_data, one_voxel_mask, saturated, standardised
from tests.tiny_bids import tiny_data

seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(["i2", "u1", "i4", "f4", "f8"])
shapes = st.tuples(*[st.integers(3, 7)] * 3, st.integers(2, 6))


def _noise(seed: int, shape: tuple[int, ...], kind: str = "f4") -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).integers(1, 250, shape).astype(kind)
    noise[0, 0], noise[0, 1] = 251, 252
    noise[1, 0] = 1 + np.arange(shape[3])
    return np.asfortranarray(noise)


def _codes(data: NDArray[np.float32]) -> list[str]:
    return [finding.code for finding in check_voxels(data)]


@settings(deadline=None)
@given(seeds, shapes, kinds)
def test_noise_is_no_fault(seed: int, shape: tuple[int, ...], kind: str) -> None:
    assert _codes(_noise(seed, shape, kind)) == []


@settings(deadline=None)
@given(seeds, shapes, kinds, st.data())
def test_a_lost_volume_is_named(
    seed: int, shape: tuple[int, ...], kind: str, drawn: st.DataObject
) -> None:
    data = _noise(seed, shape, kind)
    lost = drawn.draw(st.sets(st.integers(0, shape[3] - 1), min_size=1, max_size=shape[3] - 1))
    data[..., sorted(lost)] = drawn.draw(st.integers(0, 100))
    finding = check_voxels(data)[0]
    assert (finding.code, finding.is_refusal) == ("constant-volume", True)
    assert finding.volumes == tuple(sorted(lost))


@settings(deadline=None)
@given(seeds, shapes, kinds, st.data())
def test_a_lost_slice_is_a_refusal_inside_and_told_at_the_edge(
    seed: int, shape: tuple[int, ...], kind: str, drawn: st.DataObject
) -> None:
    data = _noise(seed, shape, kind)
    z, v = drawn.draw(st.integers(0, shape[2] - 1)), drawn.draw(st.integers(0, shape[3] - 1))
    data[:, :, z, v] = drawn.draw(st.integers(0, 100))
    (finding,) = check_voxels(data)
    is_inside = 0 < z < shape[2] - 1
    assert (finding.code, finding.is_refusal) == (
        ("lost-slice", True) if is_inside else ("edge-slice", False)
    )
    assert finding.volumes == (v,)
    assert f"Slices {z}" in finding.message


@settings(deadline=None)
@given(seeds, shapes, kinds, st.data())
def test_slices_that_are_constant_in_all_volumes_are_a_mask(
    seed: int, shape: tuple[int, ...], kind: str, drawn: st.DataObject
) -> None:
    data = _noise(seed, shape, kind)
    cut = drawn.draw(st.sets(st.integers(0, shape[2] - 1), max_size=shape[2] - 1))
    data[:, :, sorted(cut)] = 0
    assert _codes(data) == []


@settings(deadline=None)
@given(seeds, shapes, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_a_voxel_that_is_no_number_is_a_refusal(
    seed: int, shape: tuple[int, ...], value: float, drawn: st.DataObject
) -> None:
    data = _noise(seed, shape)
    x, y, z, v = (drawn.draw(st.integers(0, side - 1)) for side in shape)
    data[x, y, z, v] = value
    finding = check_voxels(data)[0]
    assert (finding.code, finding.is_refusal) == ("not-finite", True)
    assert finding.volumes


@settings(deadline=None)
@given(seeds, shapes, kinds, st.data())
def test_a_repeated_volume_is_told_and_a_frozen_run_refused(
    seed: int, shape: tuple[int, ...], kind: str, drawn: st.DataObject
) -> None:
    data = _noise(seed, shape, kind)
    v = drawn.draw(st.integers(1, shape[3] - 1))
    data[..., v] = data[..., v - 1]
    found = check_voxels(data)
    if shape[3] > 2:
        assert [(f.code, f.volumes, f.is_refusal) for f in found] == [
            ("repeated-volumes", (v,), False)
        ]
    data[...] = data[..., :1]
    assert _codes(data)[0] == "constant-in-time"


@settings(deadline=None)
@given(seeds, shapes, st.data())
def test_the_order_in_memory_does_not_matter(
    seed: int, shape: tuple[int, ...], drawn: st.DataObject
) -> None:
    data = _noise(seed, shape)
    for _ in range(drawn.draw(st.integers(0, 2))):
        z, v = drawn.draw(st.integers(0, shape[2] - 1)), drawn.draw(st.integers(0, shape[3] - 1))
        data[:, :, z, v] = 0
    before = data.copy(order="K")
    assert check_voxels(np.ascontiguousarray(data)) == check_voxels(data)
    np.testing.assert_array_equal(data, before)


def test_nan_in_the_same_voxels_of_all_volumes_is_a_mask_and_lost_slices_show_beside_it() -> None:
    data = _noise(3, (7, 6, 5, 4))
    data[:3] = np.nan
    data[:, :, 0] = np.nan
    assert _codes(data) == ["nan-voxels"]
    data[3:, :, 2, 1] = 0
    assert _codes(data) == ["lost-slice", "nan-voxels"]
    data[3:, :, 1:, 2] = 0
    assert _codes(data)[0] == "constant-volume"


def test_a_slice_with_nan_in_all_its_voxels_of_one_volume_is_a_refusal() -> None:
    data = _noise(4, (7, 6, 5, 4))
    data[:, :, 2, 1] = np.nan
    assert _codes(data)[0] == "not-finite"


@pytest.mark.parametrize("data", [masked_data(), one_voxel_mask(), saturated(), standardised()])
def test_masks_saturation_and_standardised_values_are_no_fault(data: NDArray[np.float32]) -> None:
    assert _codes(data) == []


def test_a_head_that_moves_out_of_a_masked_field_of_view_is_told_not_refused() -> None:
    data = masked_data()
    live = np.flatnonzero(data.any(axis=(0, 1, 3)))
    data[:, :, live[-1], 3:5] = 0
    (finding,) = check_voxels(data)
    assert (finding.code, finding.volumes, finding.is_refusal) == ("edge-slice", (3, 4), False)


@pytest.mark.parametrize("shape", [(7, 8, 1), (1, 8, 9), (1, 1, 9)])
def test_one_slice_one_row_and_one_column_can_be_judged(shape: tuple[int, int, int]) -> None:
    data = tiny_data(11, seed=2, shape=shape)
    assert _codes(data) == []
    data[..., 4] = 0
    assert _codes(data)[0] == "constant-volume"


def test_one_volume_is_not_constant_in_time() -> None:
    assert _codes(tiny_data(1, seed=2)) == []
    assert _codes(np.zeros((3, 4, 5, 1), np.int16)) == ["constant-image"]
