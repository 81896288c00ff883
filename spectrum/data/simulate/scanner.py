"""What the scanner makes of a head that moves and responds: gain, noise, ghost, whole numbers.

A run is worked on in blocks of volumes, so that a full-size one needs little more memory than its
signal in float32 and its image in int16. Not here: what changes in the head (``image``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.simulate.anatomy import Head, smooth
from spectrum.data.simulate.datasets import DatasetPlan
from spectrum.data.simulate.seeding import generator
from spectrum.data.simulate.session_clock import Clock
from spectrum.data.simulate.signal import autocorrelated
from spectrum.entities import RunKey

__all__ = ["Changes", "Scanner", "draw_scanner", "scan"]

THERMAL_SHARE: Final = 0.7
"""Share of the noise variance that is white and everywhere; the rest follows the signal."""

NOISE_MEMORY: Final = 0.4
NOISE_FWHM_MM: Final = 10.0
"""AR(1) coefficient and spatial smoothness of the noise that follows the signal."""

SUBJECT_NOISE_SD: Final = 0.10
RUN_NOISE_SD: Final = 0.06
"""Spread of log tSNR between subjects, and between runs of one subject (MRIQC: 6 to 10 and 4 to 6
units of tSNR around 60)."""

GHOST_FRACTION: Final = 0.06
"""Nyquist ghost, half a field of view away along Y; makes the air's mean what MRIQC sees."""

BLOCK_VOLUMES: Final = 16
"""Volumes worked on at once: about 9 MB of float32 at 64 x 64 x 33."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How voxels change in time: courses_VC (V, C) times maps_CN (C, N), relative intensity."""

    courses_VC: NDArray[np.float32]
    maps_CN: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """The levels of one run.

    ``gain`` is the typical brain voxel in scanner units, ``noise`` is 1 / tSNR, ``ghost`` a share
    of the signal. ``smear`` is the share of a slice's mean signal that lies all over the slice, a
    quarter turn out of phase: the air gets brighter, and the head hardly.
    """

    gain: float
    noise: float
    ghost: float
    smear: float


def draw_scanner(
    plan: DatasetPlan, key: RunKey, clock: Clock, *, rng: np.random.Generator, seed: int
) -> Scanner:
    """Draw gain and noise of a run, around those of its subject and data set.

    Parameters
    ----------
    plan : levels and spreads of the data set
    key : which run
    clock : raises ghost and smear, where it is running
    rng : the run's own, used further by ``scan``
    seed : of the simulation
    """
    person = generator(seed, key.group, "scanner").normal(size=2)
    gain = plan.foreground * np.exp(plan.gain_sd * person[0] + plan.run_gain_sd * rng.normal())
    noise = np.exp(SUBJECT_NOISE_SD * person[1] + RUN_NOISE_SD * rng.normal()) / plan.tsnr
    return Scanner(
        gain=float(gain),
        noise=float(noise),
        ghost=GHOST_FRACTION * clock.ghost_factor,
        smear=clock.smear_fraction,
    )


def scan(
    head: Head, changes: Changes, scanner: Scanner, *, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Return what the scanner writes of a head whose voxels change so, (X, Y, Z, V).

    Noise that follows the signal is drawn first, for all volumes, then the real and the imaginary
    part of the thermal noise: the image is their magnitude, Rician, and Rayleigh in air.
    """
    signal_VZYX = _signal(head, changes, scanner, rng)
    thermal_sd = np.float32(scanner.noise * np.sqrt(THERMAL_SHARE))
    for block in _blocks(len(signal_VZYX)):
        signal_VZYX[block] += thermal_sd * _white(rng, signal_VZYX[block].shape)
    slice_mean_Z11 = head.intensity_ZYX.mean(axis=(1, 2), keepdims=True)
    smear_Z11 = np.float32(scanner.smear) * slice_mean_Z11
    image_VZYX = np.empty(signal_VZYX.shape, dtype=np.int16)
    for block in _blocks(len(signal_VZYX)):
        imaginary = thermal_sd * _white(rng, signal_VZYX[block].shape) + smear_Z11
        scanned = np.hypot(signal_VZYX[block], imaginary) * np.float32(scanner.gain)
        image_VZYX[block] = np.rint(np.clip(scanned, 0.0, 32767.0))
    return image_VZYX.T


def _signal(
    head: Head, changes: Changes, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.float32]:
    ghost_ZYX = scanner.ghost * np.roll(head.intensity_ZYX, head.grid.matrix // 2, axis=1)
    still_ZYX = head.intensity_ZYX + ghost_ZYX
    factor_ZYX = np.float32(scanner.noise * np.sqrt(1.0 - THERMAL_SHARE)) * head.intensity_ZYX
    signal_VZYX = np.empty((len(changes.courses_VC), *head.grid.shape), dtype=np.float32)
    before: NDArray[np.float32] | None = None
    for block in _blocks(len(signal_VZYX)):
        fresh = _white(rng, signal_VZYX[block].shape)
        noise = autocorrelated(fresh, memory=NOISE_MEMORY, before=before)
        before = noise[-1]
        change = (changes.courses_VC[block] @ changes.maps_CN).reshape(noise.shape)
        signal_VZYX[block] = smooth(noise, head.grid, fwhm_mm=NOISE_FWHM_MM) * factor_ZYX
        signal_VZYX[block] += change
        signal_VZYX[block] += still_ZYX
    return signal_VZYX


def _white(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32)


def _blocks(num_volumes: int) -> Iterator[slice]:
    for start in range(0, num_volumes, BLOCK_VOLUMES):
        yield slice(start, min(start + BLOCK_VOLUMES, num_volumes))
