"""Planted sinusoids, sampled when their slices are acquired, come back in step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.registration.slice_timing import (
    SliceOrder,
    correct_slice_timing,
    middle_s,
    slice_times,
)
from spectrum.errors import ImageError

ORDERS: tuple[SliceOrder, ...] = (
    "ascending",
    "descending",
    "interleaved_ascending",
    "interleaved_ascending_even_first",
    "interleaved_descending",
)
TR_S = 2.0


def sinusoid(times_s: NDArray[np.float64], hz: float) -> NDArray[np.float64]:
    return 500.0 + 20.0 * np.sin(2 * np.pi * hz * times_s + 0.4)


def sampled(times_s: NDArray[np.float64], hz: float, num_volumes: int = 90) -> NDArray[np.float32]:
    starts_s = TR_S * np.arange(num_volumes)
    series_SV = sinusoid(starts_s + times_s[:, None], hz)
    return np.asfortranarray(np.broadcast_to(series_SV, (3, 4, *series_SV.shape)), np.float32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("hz", "most"), [(0.01, 0.03), (0.05, 0.02), (0.1, 0.02)])
def test_slices_come_into_step(order: SliceOrder, hz: float, most: float) -> None:
    times_s = slice_times(order, 7, tr_s=TR_S)
    data_XYZV = sampled(times_s, hz)
    truth_V = sinusoid(TR_S * np.arange(90) + middle_s(times_s), hz)
    found_XYZV = correct_slice_timing(data_XYZV, times_s, tr_s=TR_S)
    before, after = (np.abs(data - truth_V)[..., 1:-1] for data in (data_XYZV, found_XYZV))
    assert np.sqrt((after**2).mean()) < most * np.sqrt((before**2).mean())
    assert found_XYZV.dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_along_any_axis(axis: int) -> None:
    times_s = slice_times("descending", 7, tr_s=TR_S)
    data_XYZV = sampled(times_s, 0.05)
    expected = correct_slice_timing(data_XYZV, times_s, tr_s=TR_S)
    turned = correct_slice_timing(
        np.moveaxis(data_XYZV, 2, axis), times_s, tr_s=TR_S, slice_axis=axis
    )
    np.testing.assert_array_equal(np.moveaxis(turned, axis, 2), expected)


@given(
    level=st.integers(-3000, 3000),
    num_volumes=st.integers(1, 12),
    reference_s=st.floats(0.0, TR_S),
)
def test_a_constant_series_does_not_change(
    level: int, num_volumes: int, reference_s: float
) -> None:
    data_XYZV = np.full((2, 3, 5, num_volumes), level, np.int16)
    times_s = slice_times("interleaved_ascending", 5, tr_s=TR_S)
    found = correct_slice_timing(data_XYZV, times_s, tr_s=TR_S, reference_s=reference_s)
    np.testing.assert_array_equal(found, data_XYZV)


@pytest.mark.parametrize("time_s", [0.0, 0.7])
def test_equal_times_change_nothing(rng: np.random.Generator, time_s: float) -> None:
    data_XYZV = rng.integers(0, 900, (3, 4, 5, 9), dtype=np.int16)
    found = correct_slice_timing(data_XYZV, [time_s] * 5, tr_s=TR_S)
    np.testing.assert_array_equal(found, data_XYZV)


def test_a_slice_at_the_reference_keeps_its_values(rng: np.random.Generator) -> None:
    data_XYZV = rng.random((3, 4, 5, 9), dtype=np.float32)
    times_s = slice_times("ascending", 5, tr_s=TR_S)
    found = correct_slice_timing(data_XYZV, times_s, tr_s=TR_S, reference_s=times_s[3])
    np.testing.assert_array_equal(found[:, :, 3], data_XYZV[:, :, 3])
    assert np.abs(found[:, :, 0] - data_XYZV[:, :, 0]).max() > 0.01


@given(num_slices=st.integers(1, 40), order=st.sampled_from(ORDERS))
def test_every_slice_has_a_time_of_its_own_within_tr(num_slices: int, order: SliceOrder) -> None:
    times_s = slice_times(order, num_slices, tr_s=TR_S)
    assert sorted(times_s) == pytest.approx(np.arange(num_slices) * TR_S / num_slices)


def test_orders_are_as_scanners_name_them() -> None:
    ranks = {order: slice_times(order, 6, tr_s=6.0).tolist() for order in ORDERS}
    assert ranks["ascending"] == [0, 1, 2, 3, 4, 5]
    assert ranks["descending"] == [5, 4, 3, 2, 1, 0]
    assert ranks["interleaved_ascending"] == [0, 3, 1, 4, 2, 5]
    assert ranks["interleaved_ascending_even_first"] == [3, 0, 4, 1, 5, 2]
    assert ranks["interleaved_descending"] == [5, 2, 4, 1, 3, 0]


@pytest.mark.parametrize(
    ("times_s", "reference_s", "found"),
    [
        ([0.0, 0.5, 1.0], None, "3 times and the run 5 slices"),
        ([], None, "0 times and the run 5 slices"),
        ([0.0, 0.5, 1.0, 1.5, 2.5], None, "from 0 to 2.5 s with a TR of 2 s"),
        ([0.0, -0.5, 1.0, 1.5, 1.6], None, "from -0.5 to 1.6 s"),
        ([0.0, np.nan, 1.0, 1.5, 1.6], None, "nan"),
        ([0, 400, 800, 1200, 1600], None, "from 0 to 1600 s"),
        ([0.0, 0.4, 0.8, 1.2, 1.6], 3.0, "reference of slice timing is 3 s"),
    ],
)
def test_times_that_do_not_fit_are_refused(
    times_s: list[float], reference_s: float | None, found: str
) -> None:
    with pytest.raises(ImageError, match=found) as caught:
        correct_slice_timing(
            np.ones((3, 4, 5, 9), np.float32), times_s, tr_s=TR_S, reference_s=reference_s
        )
    assert caught.value.code == "bad-slice-timing"
