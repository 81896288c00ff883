"""How voxels move in time: responses, drift, motion and noise. Not here: where (``anatomy``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.runs import Event
from spectrum.data.simulate.behaviour import BASELINE

__all__ = ["autocorrelated", "drift", "event_response", "head_motion", "hrf"]

HRF_STEP_S: Final = 0.1
HRF_LENGTH_S: Final = 32.0

EVENT_SPREAD: Final = 0.25
"""Spread of the response from event to event, relative to its mean."""

MOTION_MEMORY: Final = 0.97
"""How much of a head's displacement is still there one volume later."""

HEAD_RADIUS_MM: Final = 50.0
"""Turns rotations into displacement (Power et al. 2012, NeuroImage 59:2142)."""


def hrf() -> NDArray[np.float64]:
    """Return SPM's double-gamma response, sampled every 0.1 s, with unit sum.

    Peak at shape 6, undershoot at shape 16, ratio 1/6 (``spm_hrf`` defaults).
    """
    times_s = np.arange(0.0, HRF_LENGTH_S, HRF_STEP_S)
    response = _gamma_density(times_s, 6) - _gamma_density(times_s, 16) / 6.0
    return np.asarray(response / response.sum())


def _gamma_density(times_s: NDArray[np.float64], shape: int) -> NDArray[np.float64]:
    return np.asarray(times_s ** (shape - 1) * np.exp(-times_s) / math.gamma(shape))


def event_response(
    events: Sequence[Event], *, num_volumes: int, tr_s: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the response to the events of a run at each volume's start.

    Each event is a boxcar of its own height, convolved with the HRF. Baseline rows do nothing.

    Returns
    -------
    response_V : (V,), 0 to 1
        Zero throughout where the run has no event.
    """
    steps_per_volume = round(tr_s / HRF_STEP_S)
    activity = np.zeros(num_volumes * steps_per_volume)
    for event in events:
        height = max(0.0, rng.normal(1.0, EVENT_SPREAD))
        if event.trial_type != BASELINE:
            start = round(event.onset_s / HRF_STEP_S)
            activity[start : start + round(event.duration_s / HRF_STEP_S)] += height
    response = np.convolve(activity, hrf())[: activity.size : steps_per_volume]
    span = float(np.ptp(response))
    return np.asarray((response - response.min()) / span if span else response, dtype=np.float32)


def drift(num_volumes: int) -> NDArray[np.float32]:
    """Return the shapes of slow drift, (V, 3): linear and the two lowest cosines, zero mean."""
    phase = (np.arange(num_volumes) + 0.5) / num_volumes
    shapes = [2.0 * phase - 1.0, np.cos(np.pi * 2.0 * phase), np.cos(np.pi * 3.0 * phase)]
    shapes_V3 = np.stack(shapes, axis=1)
    return np.asarray(shapes_V3 - shapes_V3.mean(axis=0), dtype=np.float32)


def head_motion(
    num_volumes: int, *, displacement_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return how a head wanders around its mean place.

    Parameters
    ----------
    displacement_mm : millimetres, >= 0
        Expected framewise displacement after Power et al.

    Returns
    -------
    motion_V6 : (V, 6)
        Translations along X, Y, Z in millimetres, rotations about X, Y, Z in radians.
    """
    step_sd = displacement_mm / (6.0 * np.sqrt(2.0 / np.pi))
    steps_V6 = rng.normal(0.0, step_sd, size=(num_volumes, 6))
    steps_V6[:, 3:] /= HEAD_RADIUS_MM
    for volume in range(1, num_volumes):
        steps_V6[volume] += MOTION_MEMORY * steps_V6[volume - 1]
    return np.asarray(steps_V6 - steps_V6.mean(axis=0), dtype=np.float32)


def autocorrelated(
    noise_VN: NDArray[np.float32], *, memory: float, before: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return AR(1) noise of unit variance made from white noise, along the first axis.

    Parameters
    ----------
    noise_VN : white, unit variance
    memory : coefficient, [0, 1)
    before : (N,) or None
        The last of what came before, where a series is drawn in blocks.
    """
    fresh = np.float32(np.sqrt(1.0 - memory**2))
    series_VN = noise_VN * fresh
    if before is None:
        series_VN[0] = noise_VN[0]
    else:
        series_VN[0] += np.float32(memory) * before
    for volume in range(1, len(series_VN)):
        series_VN[volume] += np.float32(memory) * series_VN[volume - 1]
    return series_VN
