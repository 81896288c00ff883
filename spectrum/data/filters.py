"""What is slow, fast or unwanted in time, as matrices over the volumes of a run.

Cosines and Butterworth are nilearn's (``nilearn.signal.clean``); here they become the columns of
one fit and one matrix. Not here: the fit (``temporal``), and where regressors come from
(``confounds``).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["butterworth_matrix", "butterworth_rim", "cosines", "orthonormal", "trend"]

BUTTERWORTH_ORDER: Final = 5
"""nilearn's default (``nilearn.signal.butterworth``)."""

RANK_TOLERANCE: Final = 1e-7
"""Columns of length 1 that add less than this to those before them add nothing but rounding:
tables are written with 6 digits and more."""

Float64 = NDArray[np.float64]


def cosines(num_volumes: int, tr_s: float, high_pass_hz: float) -> Float64:
    """Return the cosines up to a frequency, (V, K), without the constant.

    The discrete cosine basis of SPM and nilearn: ``floor(2 V high_pass_hz tr_s)`` columns, at most
    ``V - 1``.
    """
    count = min(num_volumes - 1, math.floor(2 * num_volumes * high_pass_hz * tr_s))
    angle_V = np.pi * (np.arange(num_volumes) + 0.5) / num_volumes
    return np.asarray(np.cos(np.outer(angle_V, np.arange(1, count + 1))))


def trend(num_volumes: int) -> Float64:
    """Return a straight line through the volumes, (V, 1)."""
    return np.arange(num_volumes, dtype=np.float64)[:, None]


def orthonormal(columns_VK: Float64) -> Float64:
    """Return an orthonormal basis of what the columns span beside the constant.

    Returns
    -------
    basis_VR : R <= K
        Columns that are constant, or combinations of others, add nothing.
    """
    from scipy.linalg import qr

    centred = columns_VK - columns_VK.mean(axis=0)
    lengths = np.sqrt((centred**2).sum(axis=0))
    largest = np.abs(columns_VK).max(axis=0, initial=0.0)
    is_live = lengths > RANK_TOLERANCE * largest * math.sqrt(len(columns_VK))
    if not is_live.any():
        return np.zeros((len(columns_VK), 0))
    basis, triangle, _ = qr(centred[:, is_live] / lengths[is_live], mode="economic", pivoting=True)
    return np.asarray(basis[:, np.abs(np.diag(triangle)) > RANK_TOLERANCE])


def butterworth_matrix(
    num_volumes: int, tr_s: float, *, high_pass_hz: float, low_pass_hz: float
) -> Float64:
    """Return the filter as a (V, V) matrix: forwards and backwards, mirrored ends.

    Parameters
    ----------
    num_volumes : more than ``butterworth_rim`` of the same filter
    tr_s : seconds
    high_pass_hz, low_pass_hz : hertz, below half of 1 / ``tr_s``; 0 passes everything
        At least one is not 0.
    """
    from scipy.signal import sosfiltfilt

    sections = _sections(tr_s, high_pass_hz, low_pass_hz)
    return np.asarray(sosfiltfilt(sections, np.eye(num_volumes), axis=0))


def butterworth_rim(tr_s: float, *, high_pass_hz: float, low_pass_hz: float) -> int:
    """Return how many volumes scipy mirrors at each end; a run must have more."""
    sections = _sections(tr_s, high_pass_hz, low_pass_hz)
    zeros = min(int((sections[:, 2] == 0).sum()), int((sections[:, 5] == 0).sum()))
    return 3 * (2 * len(sections) + 1 - zeros)


def _sections(tr_s: float, high_pass_hz: float, low_pass_hz: float) -> Any:
    from scipy.signal import butter

    kind = (
        "bandpass" if high_pass_hz and low_pass_hz else "highpass" if high_pass_hz else "lowpass"
    )
    cut = [hz for hz in (high_pass_hz, low_pass_hz) if hz]
    return butter(
        BUTTERWORTH_ORDER,
        cut if len(cut) > 1 else cut[0],
        btype=kind,
        output="sos",
        fs=1.0 / tr_s,
    )
