"""Slice timing: every slice's series as if it had been acquired with the others.

Each voxel's series is interpolated over time with one spline, all voxels of a slice alike. Quintic
(scipy), rather than SPM's phase shift, which joins the ends of a run to a circle. Order: after
motion is estimated and before voxels are moved, see ``spectrum.data.registration``. Not here:
reading ``SliceTiming`` from a sidecar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import ImageError

__all__ = ["SliceOrder", "correct_slice_timing", "middle_s", "slice_times"]

SliceOrder = Literal[
    "ascending",
    "descending",
    "interleaved_ascending",
    "interleaved_ascending_even_first",
    "interleaved_descending",
]
"""Slices count from 1 here, as scanners do. ``interleaved_ascending``: 1, 3, 5, ..., 2, 4, ...
``interleaved_ascending_even_first``: 2, 4, ..., 1, 3, ... (Siemens, even number of slices).
``interleaved_descending``: from the last slice down, every other one, then those between."""

SPLINE_DEGREE: Final = 5
"""Of a sinusoid at a TR of 2 s, 180 volumes, a shift of half a TR leaves an error of 1.3 per cent
with degree 3, of 0.2 with degree 5 and of 2.1 with SPM's phase shift at 0.1 Hz; at 0.2 Hz, where
BOLD has little to say, of 35, 29 and 6 per cent."""

TOLERANCE_S: Final = 1e-3
"""Sidecars round; a time later than TR by no more than this is TR."""


def slice_times(order: SliceOrder, num_slices: int, *, tr_s: float) -> NDArray[np.float64]:
    """Return when each slice of a volume is acquired, if they follow each other evenly.

    Parameters
    ----------
    order : of acquisition
    num_slices : >= 1
    tr_s : seconds, > 0; no pause between volumes

    Returns
    -------
    times_s : (S,), seconds after the volume's start

    Examples
    --------
    >>> slice_times("interleaved_ascending", 5, tr_s=2.5).tolist()
    [0.0, 1.5, 0.5, 2.0, 1.0]
    """
    upwards = list(range(num_slices))
    acquired = {
        "ascending": upwards,
        "descending": upwards[::-1],
        "interleaved_ascending": upwards[::2] + upwards[1::2],
        "interleaved_ascending_even_first": upwards[1::2] + upwards[::2],
        "interleaved_descending": upwards[::-1][::2] + upwards[::-1][1::2],
    }[order]
    times_s = np.empty(num_slices)
    times_s[acquired] = np.arange(num_slices) * tr_s / num_slices
    return times_s


def middle_s(times_s: Sequence[float] | NDArray[Any]) -> float:
    """Return the middle between the first and the last slice, seconds after a volume's start.

    fMRIPrep's reference too: half of the brain is shifted either way, none by more than TR / 2.
    """
    return (float(np.min(times_s)) + float(np.max(times_s))) / 2.0


def correct_slice_timing(
    data_XYZV: NDArray[Any],
    times_s: Sequence[float] | NDArray[Any],
    *,
    tr_s: float,
    reference_s: float | None = None,
    slice_axis: int = 2,
) -> NDArray[np.float32]:
    """Shift each slice's series to one time within TR.

    What a volume shows lies ``reference_s`` after the volume's start from then on. Before the
    first and after the last time that a slice was acquired, that value is held.

    Parameters
    ----------
    data_XYZV : as scanned, planes as acquired
    times_s : (S,), seconds after the volume's start; BIDS's ``SliceTiming``
        In the order of the slices along ``slice_axis``; reversed already where BIDS's
        ``SliceEncodingDirection`` ends with ``-``.
    tr_s : seconds
    reference_s : seconds after the volume's start; None is ``middle_s``
    slice_axis : 0, 1 or 2

    Returns
    -------
    data_XYZV : float32, Fortran order

    Raises
    ------
    ImageError
        ``bad-slice-timing`` where there is not one time within TR for each slice.
    """
    times = np.asarray(times_s, dtype=np.float64)
    reference = middle_s(times) if reference_s is None and times.size else reference_s or 0.0
    _check_times(times, data_XYZV.shape[slice_axis], tr_s=tr_s, reference_s=reference)
    out = np.empty(data_XYZV.shape, dtype=np.float32, order="F")
    for index, time_s in enumerate(times):
        plane = (slice(None),) * slice_axis + (index,)
        out[plane] = _shifted(data_XYZV[plane], (reference - time_s) / tr_s)
    return out


def _check_times(
    times: NDArray[np.float64], num_slices: int, *, tr_s: float, reference_s: float
) -> None:
    late = tr_s + TOLERANCE_S
    if times.shape != (num_slices,):
        found = f"SliceTiming has {times.size} times and the run {num_slices} slices"
    elif not (np.isfinite(times).all() and times.min() >= 0.0 and times.max() <= late):
        found = (
            f"SliceTiming runs from {times.min():g} to {times.max():g} s with a TR of {tr_s:g} s"
        )
    elif not 0.0 <= reference_s <= late:
        found = f"The reference of slice timing is {reference_s:g} s with a TR of {tr_s:g} s"
    else:
        return
    raise ImageError(
        f"{found}. Expected one time for each slice, in seconds from 0 to TR; correct the "
        "sidecar, or switch slice timing off.",
        code="bad-slice-timing",
    )


def _shifted(plane_ABV: NDArray[Any], shift: float) -> NDArray[np.float32]:
    """Return series read ``shift`` volumes later, (A, B, V); a constant one does not change."""
    series_VN = np.ascontiguousarray(plane_ABV.T, dtype=np.float32).reshape(plane_ABV.shape[2], -1)
    if len(series_VN) < 2 or shift == 0.0:
        return plane_ABV.astype(np.float32)
    weights_VV = _shift_weights(len(series_VN), shift).astype(np.float32)
    shifted_VN = series_VN[:1] + weights_VV @ (series_VN - series_VN[:1])
    return shifted_VN.reshape(plane_ABV.shape[::-1]).T


def _shift_weights(num_volumes: int, shift: float) -> NDArray[np.float64]:
    """Return the matrix that takes a series to itself, read later by a part of a volume."""
    from scipy.interpolate import make_interp_spline

    acquired = np.arange(num_volumes, dtype=np.float64)
    degree = min(SPLINE_DEGREE, num_volumes - 1)
    spline = make_interp_spline(acquired, np.eye(num_volumes), k=degree)
    return np.asarray(spline(np.clip(acquired + shift, 0.0, num_volumes - 1.0)))
