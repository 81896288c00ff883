"""What the voxels of a run say of themselves: lost volumes, lost slices, numbers that are none.

Decided here: which contents make a run unusable. Slices are planes of the third axis. A slice
that is constant in every volume is no fault: masks cut the image there, and so do the edges of
the field of view. Not here: reading (``images``), quality that is a matter of degree
(``quality``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.findings import Finding, listed

__all__ = ["check_voxels"]

MIN_LIVE_VOXELS: Final = 4
"""Voxels that a slice must have lost to count as lost: a mask may leave a slice one or two, and
those may all be 0 in one volume by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extremes:
    """Smallest and largest value per slice and volume, and what cannot be seen in them.

    A slice is live where it has any contrast; one of NaN alone has none.
    """

    low_ZV: NDArray[Any]
    high_ZV: NDArray[Any]
    is_live_ZV: NDArray[np.bool_]
    has_nan_V: NDArray[np.bool_]
    is_repeated_V: NDArray[np.bool_]
    moved_nan: tuple[int, ...]


def check_voxels(data_XYZV: NDArray[Any]) -> tuple[Finding, ...]:
    """Look once at every voxel of a run.

    Refusals, of which only the first that applies is told: ``not-finite`` (an infinite voxel, a
    NaN that is not NaN in every volume, or nothing else), ``constant-image``,
    ``constant-in-time``, ``constant-volume``, ``lost-slice`` (a slice between live ones that has
    no contrast in some volumes but in others). Usable: ``nan-voxels`` (NaN in the same voxels of
    all volumes, as a mask of float images), ``edge-slice`` (as ``lost-slice``, at the edge of the
    field of view, where a resampled head moves out of it), ``repeated-volumes`` (bit for bit the
    volume before).

    Parameters
    ----------
    data_XYZV : whole or real numbers, scaled
        Fortran order is fastest; one volume is looked at at a time.

    Returns
    -------
    findings : at most one refusal, which comes first
    """
    extremes = _scan(data_XYZV)
    refusal = (
        _check_finite(extremes)
        or _check_contrast(data_XYZV, extremes)
        or _check_slices(data_XYZV, extremes)
    )
    usable = (_nan_voxels(extremes), _edge_slices(data_XYZV, extremes), _repeats(extremes))
    return tuple(finding for finding in (refusal, *usable) if finding is not None)


def _scan(data_XYZV: NDArray[Any]) -> _Extremes:
    num_slices, num_volumes = data_XYZV.shape[2:]
    low = np.empty((num_slices, num_volumes), data_XYZV.dtype, order="F")
    high = np.empty_like(low)
    has_nan, is_repeated = np.zeros(num_volumes, bool), np.zeros(num_volumes, bool)
    moved_nan = []
    before = None
    for v in range(num_volumes):
        slices = np.ascontiguousarray(data_XYZV[..., v].T).reshape(num_slices, -1)
        slices.min(axis=1, out=low[:, v])
        slices.max(axis=1, out=high[:, v])
        has_nan[v] = bool((low[:, v] != low[:, v]).any())
        if has_nan[v]:
            np.fmin.reduce(slices, axis=1, out=low[:, v])
            np.fmax.reduce(slices, axis=1, out=high[:, v])
        if before is not None and _is_same_nan(before, slices, has_nan[v - 1 : v + 1]):
            is_repeated[v] = _is_repeat(before, slices, low[:, v - 1 : v + 1])
        elif before is not None:
            moved_nan.append(v)
        before = slices
    return _Extremes(
        low_ZV=low,
        high_ZV=high,
        is_live_ZV=low < high,
        has_nan_V=has_nan,
        is_repeated_V=is_repeated,
        moved_nan=tuple(moved_nan),
    )


def _is_same_nan(before: NDArray[Any], now: NDArray[Any], has_nan: NDArray[np.bool_]) -> bool:
    return not has_nan.any() or bool(np.array_equal(np.isnan(before), np.isnan(now)))


def _is_repeat(before: NDArray[Any], now: NDArray[Any], low_Z2: NDArray[Any]) -> bool:
    """Compare the bytes, but only of volumes whose slices have the same minima."""
    if not np.array_equal(low_Z2[:, 0], low_Z2[:, 1], equal_nan=low_Z2.dtype.kind == "f"):
        return False
    bits = f"u{now.dtype.itemsize}"
    return bool(np.array_equal(before.view(bits), now.view(bits)))


def _check_finite(extremes: _Extremes) -> Finding | None:
    if extremes.low_ZV.dtype.kind != "f":
        return None
    is_infinite = np.isinf(extremes.low_ZV) | np.isinf(extremes.high_ZV)
    is_empty = np.isnan(extremes.low_ZV).all(axis=0)
    at_fault = _indices(is_infinite.any(axis=0) | is_empty) or extremes.moved_nan
    if not at_fault:
        return None
    return Finding(
        code="not-finite",
        message=f"Voxels of volumes {listed(at_fault)} are infinite, or NaN there and numbers "
        "in other volumes. All must be finite; write the image again from its source.",
        volumes=at_fault,
        is_refusal=True,
    )


def _check_contrast(data_XYZV: NDArray[Any], extremes: _Extremes) -> Finding | None:
    num_volumes = data_XYZV.shape[3]
    is_flat = np.fmin.reduce(extremes.low_ZV, axis=0) == np.fmax.reduce(extremes.high_ZV, axis=0)
    if data_XYZV.shape[0] * data_XYZV.shape[1] > 1:
        is_flat |= ~extremes.is_live_ZV.any(axis=0)
    flat = _indices(is_flat)
    if len(flat) == num_volumes:
        return _whole_run("constant-image", "All voxels of every volume have one value")
    if num_volumes > 1 and extremes.is_repeated_V[1:].all():
        return _whole_run("constant-in-time", f"All {num_volumes} volumes are the same")
    if not flat:
        return None
    return Finding(
        code="constant-volume",
        message=f"Volumes {listed(flat)} of {num_volumes} have one value in all voxels. "
        "They were lost; fetch or export the run again, or leave it out by name.",
        volumes=flat,
        is_refusal=True,
    )


def _whole_run(code: str, found: str) -> Finding:
    return Finding(
        code=code,
        message=f"{found}. Expected a signal that changes; fetch or export the run again.",
        is_refusal=True,
    )


def _check_slices(data_XYZV: NDArray[Any], extremes: _Extremes) -> Finding | None:
    lost = _lost(data_XYZV, extremes, at_edge=False)
    if not lost:
        return None
    slices, volumes = _sides(lost)
    return Finding(
        code="lost-slice",
        message=f"Slices {listed(slices)} have one value in all voxels of volumes "
        f"{listed(volumes)} and a signal in others. They were lost; export the run again, or "
        "leave it out by name.",
        volumes=volumes,
        is_refusal=True,
    )


def _lost(data_XYZV: NDArray[Any], extremes: _Extremes, *, at_edge: bool) -> list[tuple[int, int]]:
    """Return (slice, volume) of slices without contrast that have some in other volumes."""
    live = extremes.is_live_ZV
    has_contrast_elsewhere = live.any(axis=1, keepdims=True) & live.any(axis=0)
    pairs = [(int(z), int(v)) for z, v in np.argwhere(~live & has_contrast_elsewhere)]
    return [
        (z, v)
        for z, v in pairs
        if _is_between(live, z, v) != at_edge
        and _num_lost(data_XYZV, extremes, z, v) >= MIN_LIVE_VOXELS
    ]


def _is_between(live_ZV: NDArray[np.bool_], z: int, v: int) -> bool:
    """Return whether a slice lies between live slices of its volume."""
    return bool(live_ZV[:z, v].any() and live_ZV[z + 1 :, v].any())


def _num_lost(data_XYZV: NDArray[Any], extremes: _Extremes, z: int, v: int) -> int:
    """Count voxels that differ from the constant in the nearest volume that has the slice."""
    alive = np.flatnonzero(extremes.is_live_ZV[z])
    nearest = int(alive[np.abs(alive - v).argmin()])
    plane = data_XYZV[:, :, z, nearest]
    differs = (plane != extremes.low_ZV[z, v]) & (plane == plane)
    return int(np.count_nonzero(differs))


def _edge_slices(data_XYZV: NDArray[Any], extremes: _Extremes) -> Finding | None:
    lost = _lost(data_XYZV, extremes, at_edge=True)
    if not lost:
        return None
    slices, volumes = _sides(lost)
    return Finding(
        code="edge-slice",
        message=f"Slices {listed(slices)}, at the edge of the field of view, have one value in "
        f"all voxels of volumes {listed(volumes)} and a signal in others. Look whether the head "
        "moved out of the field of view.",
        volumes=volumes,
    )


def _nan_voxels(extremes: _Extremes) -> Finding | None:
    if not extremes.has_nan_V.all() or extremes.moved_nan:
        return None
    return Finding(
        code="nan-voxels",
        message="The same voxels are NaN in all volumes. They are taken to lie outside a mask.",
    )


def _repeats(extremes: _Extremes) -> Finding | None:
    repeated = _indices(extremes.is_repeated_V & extremes.is_live_ZV.any(axis=0))
    if not repeated:
        return None
    return Finding(
        code="repeated-volumes",
        message=f"Volumes {listed(repeated)} are bit for bit the volume before them. "
        "Look whether volumes were lost and filled.",
        volumes=repeated,
    )


def _sides(pairs: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(sorted({z for z, _ in pairs})), tuple(sorted({v for _, v in pairs}))


def _indices(flags_V: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.flatnonzero(flags_V))
