"""One simulated run: head, responses, drift, motion and noise put together.

Nothing but the planted response depends on the stage. Gain, noise, motion, length and drift are
drawn from generators that know the run's name and not the truth; the planted response has zero
mean over the run. So no first-order number of a run tells early from late.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.simulate.anatomy import Grid, Head, build_head, smooth
from spectrum.data.simulate.behaviour import events_text
from spectrum.data.simulate.config import SimulationConfig
from spectrum.data.simulate.datasets import PLANS, TR_S, DatasetPlan, TaskPlan
from spectrum.data.simulate.seeding import generator
from spectrum.data.simulate.signal import (
    autocorrelated,
    drift,
    event_response,
    head_motion,
    magnitude,
)
from spectrum.entities import RunKey

__all__ = ["EARLY", "LATE", "SimulatedRun", "planned_runs", "simulate_run"]

EARLY: Final = MappingProxyType({"medial temporal lobe": 1.0, "striatum": -0.1})
LATE: Final = MappingProxyType({"medial temporal lobe": -0.1, "striatum": 1.0})
"""Share of ``effect_percent`` in each deep system, after Poldrack et al. 2001 (Nature 414:546):
medial temporal lobe active, then deactivated; caudate the reverse."""

TASK_PERCENT: Final = 2.0
"""Peak of the visual and motor response, percent of the voxel's mean; the same in every run."""

DRIFT_PERCENT: Final = (0.5, 0.25, 0.2)
"""Spread over voxels of the linear drift and the two cosines, percent of the voxel's mean."""

DRIFT_FWHM_MM: Final = 60.0

THERMAL_SHARE: Final = 0.7
"""Share of the noise variance that is white and everywhere; the rest follows the signal."""

NOISE_MEMORY: Final = 0.4
NOISE_FWHM_MM: Final = 10.0
"""AR(1) coefficient and spatial smoothness of the noise that follows the signal."""

SUBJECT_NOISE_SD: Final = 0.10
RUN_NOISE_SD: Final = 0.06
"""Spread of log tSNR between subjects, and between runs of one subject (MRIQC: 6 to 10 and 4 to 6
units of tSNR around 60)."""

MOTION_SD: Final = 0.35
"""Spread of the logarithm of mean framewise displacement between runs."""

GHOST_FRACTION: Final = 0.06
"""Nyquist ghost, half a field of view away along Y; makes the air's mean what MRIQC sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """One run as it will lie on disk.

    ``data_XYZV`` is int16; ``response_of_system`` says what was planted: per deep system, the peak
    response in percent, signed.
    """

    key: RunKey
    data_XYZV: NDArray[np.int16]
    affine: NDArray[np.float64]
    tr_s: float
    events: str
    response_of_system: dict[str, float]


def planned_runs(config: SimulationConfig) -> tuple[RunKey, ...]:
    """Return the keys of all runs of a simulation, in the order of writing."""
    return tuple(
        key
        for name in config.datasets
        for subject in PLANS[name].subjects(config.num_subjects)
        for key in PLANS[name].runs_of(subject)
    )


def simulate_run(key: RunKey, config: SimulationConfig) -> SimulatedRun:
    """Simulate one run; depends on nothing but its key and the configuration."""
    plan = PLANS[key.dataset]
    task = plan.task_of(key)
    num_volumes = _draw_length(task, generator(config.seed, str(key), "length"))
    rng = generator(config.seed, str(key), "events")
    events = task.design.draw(rng, run_s=num_volumes * TR_S)
    text = events_text(events, task.design.layout, key=key, rng=rng)
    grid = Grid(
        matrix=config.matrix, num_slices=plan.slices_of(key.subject), slice_mm=plan.slice_mm
    )
    head = build_head(grid, names=(key.group,), seed=config.seed)
    planted = _planted_percent(task, key, config)
    response_rng = generator(config.seed, str(key), "response")
    response_V = event_response(events, num_volumes=num_volumes, tr_s=TR_S, rng=response_rng)
    courses_VC, maps_CN = _responses(head, response_V, planted)
    slow_VC, slow_CN = _drift_and_motion(head, num_volumes, key, config)
    change_VN = np.hstack([courses_VC, slow_VC]) @ np.vstack([maps_CN, slow_CN])
    return SimulatedRun(
        key=key,
        data_XYZV=_scan(head, change_VN, plan=plan, key=key, seed=config.seed),
        affine=grid.affine,
        tr_s=TR_S,
        events=text,
        response_of_system=planted,
    )


def _draw_length(task: TaskPlan, rng: np.random.Generator) -> int:
    lengths = np.repeat(list(task.files_of_length), list(task.files_of_length.values()))
    return int(rng.choice(lengths))


def _planted_percent(task: TaskPlan, key: RunKey, config: SimulationConfig) -> dict[str, float]:
    """Return the peak of each deep system's response in this run, percent.

    Under the null, one coin serves both runs of a pair: each pattern is as common as under the
    effect, and equally often early and late whatever the seed.
    """
    pair = (key.group, key.session, key.task)
    coin = generator(config.seed, *pair, "coin").random()
    is_early = key.run_number == 1 if config.truth == "effect" else bool(coin < 0.5)
    pattern = EARLY if is_early else LATE
    amplitude = config.effect_percent if task.learns else 0.0
    return {system: amplitude * share for system, share in pattern.items()}


def _responses(
    head: Head, response_V: NDArray[np.float32], planted: dict[str, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return courses (V, 2) and maps (2, N) of the common and of the planted response."""
    shares = head.share_of_system
    common_N = (TASK_PERCENT / 100.0) * np.maximum(shares["visual"], shares["motor"])
    planted_N = sum(percent / 100.0 * shares[system] for system, percent in planted.items())
    maps_CN = np.stack([common_N, np.asarray(planted_N)]).reshape(2, -1)
    courses_VC = np.stack([response_V, response_V - response_V.mean()], axis=1)
    return courses_VC, maps_CN * head.intensity_ZYX.ravel()


def _drift_and_motion(
    head: Head, num_volumes: int, key: RunKey, config: SimulationConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return courses (V, 9) and maps (9, N) of what is slow: three drifts, six motions."""
    rng = generator(config.seed, str(key), "slow")
    fields = rng.standard_normal((len(DRIFT_PERCENT), *head.grid.shape), dtype=np.float32)
    scale_C = np.array(DRIFT_PERCENT, dtype=np.float32)[:, None, None, None] / 100.0
    drift_maps = smooth(fields, head.grid, fwhm_mm=DRIFT_FWHM_MM) * scale_C * head.intensity_ZYX
    displacement_mm = config.motion_mm * float(rng.lognormal(0.0, MOTION_SD))
    motion_V6 = head_motion(num_volumes, displacement_mm=displacement_mm, rng=rng)
    maps = np.concatenate([drift_maps, _motion_maps(head)])
    return np.hstack([drift(num_volumes), motion_V6]), maps.reshape(len(maps), -1)


def _motion_maps(head: Head) -> NDArray[np.float32]:
    """Return the change of each voxel per millimetre and per radian, (6, Z, Y, X).

    First order: image(r - d) = image(r) - d . gradient, with d = axis x r for a rotation.
    """
    grid = head.grid
    z_mm, y_mm, x_mm = np.ix_(grid.axis_mm(2), grid.axis_mm(1), grid.axis_mm(0))
    by_z, by_y, by_x = np.gradient(head.intensity_ZYX, *grid.voxel_mm[::-1])
    about_x = y_mm * by_z - z_mm * by_y
    about_y = z_mm * by_x - x_mm * by_z
    about_z = x_mm * by_y - y_mm * by_x
    return -np.stack([by_x, by_y, by_z, about_x, about_y, about_z]).astype(np.float32)


def _scan(
    head: Head, change_VN: NDArray[np.float32], *, plan: DatasetPlan, key: RunKey, seed: int
) -> NDArray[np.int16]:
    """Return what the scanner writes of a head whose voxels change so, (X, Y, Z, V)."""
    person = generator(seed, key.group, "scanner").normal(size=2)
    rng = generator(seed, str(key), "scanner")
    gain = plan.foreground * np.exp(plan.gain_sd * person[0] + plan.run_gain_sd * rng.normal())
    noise = np.exp(SUBJECT_NOISE_SD * person[1] + RUN_NOISE_SD * rng.normal()) / plan.tsnr
    shape = (len(change_VN), *head.grid.shape)
    ghost_ZYX = GHOST_FRACTION * np.roll(head.intensity_ZYX, head.grid.matrix // 2, axis=1)
    white = autocorrelated(rng.standard_normal(shape, dtype=np.float32), memory=NOISE_MEMORY)
    signal = smooth(white, head.grid, fwhm_mm=NOISE_FWHM_MM)
    signal *= np.float32(noise * np.sqrt(1.0 - THERMAL_SHARE)) * head.intensity_ZYX
    signal += change_VN.reshape(shape)
    signal += head.intensity_ZYX + ghost_ZYX
    thermal_sd = float(noise * np.sqrt(THERMAL_SHARE))
    scanned = magnitude(signal, noise_sd=thermal_sd, rng=rng) * np.float32(gain)
    return np.asarray(np.rint(np.clip(scanned, 0.0, 32767.0)), dtype=np.int16).T
