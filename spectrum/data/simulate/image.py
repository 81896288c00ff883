"""One simulated run: head, responses, drift, motion and noise put together.

What a truth plants (``truths``) is all that depends on it; everything else is drawn from
generators that know the run's name and not the truth. What may differ between run 1 and run 2 of a
pair, beyond chance, is therefore: under ``effect`` the place of the deep response, which has zero
mean over the run, so that no first-order number of a run tells early from late; under ``clock``
the air, motion and drift; under ``reversal`` both; under ``null``, ``leak`` and ``site`` nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.simulate.anatomy import Grid, Head, build_head, smooth
from spectrum.data.simulate.behaviour import events_text
from spectrum.data.simulate.config import SimulationConfig
from spectrum.data.simulate.datasets import PLANS, TR_S, TaskPlan
from spectrum.data.simulate.planting import (
    MARK_RESPONSE_PERCENT,
    mark_pattern,
    marked,
    planted_percent,
)
from spectrum.data.simulate.scanner import Changes, draw_scanner, scan
from spectrum.data.simulate.seeding import generator, single_threaded_blas
from spectrum.data.simulate.session_clock import STOPPED, Clock, clock_drift, read_clock
from spectrum.data.simulate.signal import drift, event_response, head_motion
from spectrum.data.simulate.truths import TRUTHS
from spectrum.entities import RunKey

__all__ = ["SimulatedRun", "planned_runs", "simulate_run"]

TASK_PERCENT: Final = 2.0
"""Peak of the visual and motor response, percent of the voxel's mean; the same in every run."""

DRIFT_PERCENT: Final = (0.5, 0.25, 0.2)
"""Spread over voxels of the linear drift and the two cosines, percent of the voxel's mean."""

DRIFT_FWHM_MM: Final = 60.0

MOTION_SD: Final = 0.35
"""Spread of the logarithm of mean framewise displacement between runs."""

Part = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Courses (V, C) and maps (C, Z, Y, X) that belong together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """One run as it will lie on disk.

    ``data_XYZV`` is int16; ``response_of_system`` says what was planted: per deep system, the peak
    response in percent, signed. ``clock`` is where the run stands in its session.
    """

    key: RunKey
    data_XYZV: NDArray[np.int16]
    affine: NDArray[np.float64]
    tr_s: float
    events: str
    response_of_system: dict[str, float]
    clock: Clock


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
    with single_threaded_blas():
        return _simulate(key, config)


def _simulate(key: RunKey, config: SimulationConfig) -> SimulatedRun:
    plan, truth = PLANS[key.dataset], TRUTHS[config.truth]
    task = plan.task_of(key)
    num_volumes = _draw_length(task, generator(config.seed, str(key), "length"))
    rng = generator(config.seed, str(key), "events")
    events = task.design.draw(rng, run_s=num_volumes * TR_S)
    text = events_text(events, task.design.layout, key=key, rng=rng)
    response_rng = generator(config.seed, str(key), "response")
    response_V = event_response(events, num_volumes=num_volumes, tr_s=TR_S, rng=response_rng)
    head, mark_ZYX = _head(key, config)
    clock = read_clock(key, seed=config.seed) if truth.has_clock else STOPPED
    planted = planted_percent(task, key, config)
    parts = (
        _responses(head, response_V, planted, mark_ZYX),
        *_drift_and_motion(head, num_volumes, key, config, clock),
    )
    rng = generator(config.seed, str(key), "scanner")
    scanner = draw_scanner(plan, key, clock, rng=rng, seed=config.seed)
    return SimulatedRun(
        key=key,
        data_XYZV=scan(head, _changes(parts), scanner, rng=rng),
        affine=head.grid.affine,
        tr_s=TR_S,
        events=text,
        response_of_system=planted,
        clock=clock,
    )


def _draw_length(task: TaskPlan, rng: np.random.Generator) -> int:
    lengths = np.repeat(list(task.files_of_length), list(task.files_of_length.values()))
    return int(rng.choice(lengths))


def _head(key: RunKey, config: SimulationConfig) -> tuple[Head, NDArray[np.float32] | None]:
    """Return the head of a run's subject, with its mark in it, and the mark alone."""
    plan = PLANS[key.dataset]
    slices = plan.slices_of(key.subject)
    grid = Grid(matrix=config.matrix, num_slices=slices, slice_mm=plan.slice_mm)
    head = build_head(grid, names=(key.group,), seed=config.seed)
    mark_of = TRUTHS[config.truth].mark_of
    mark_ZYX = mark_pattern(head, mark_of, key=key, seed=config.seed)
    if mark_ZYX is None:
        return head, None
    return replace(head, intensity_ZYX=marked(head, mark_ZYX)), mark_ZYX


def _responses(
    head: Head,
    response_V: NDArray[np.float32],
    planted: dict[str, float],
    mark_ZYX: NDArray[np.float32] | None,
) -> Part:
    """Return the common response, and the planted one, which has zero mean over the run."""
    shares = head.share_of_system
    common_ZYX = (TASK_PERCENT / 100.0) * np.maximum(shares["visual"], shares["motor"])
    planted_ZYX = sum(percent / 100.0 * shares[system] for system, percent in planted.items())
    if mark_ZYX is not None:
        planted_ZYX = planted_ZYX + MARK_RESPONSE_PERCENT / 100.0 * mark_ZYX
    maps_CZYX = np.stack([common_ZYX, np.asarray(planted_ZYX)]) * head.intensity_ZYX
    return np.stack([response_V, response_V - response_V.mean()], axis=1), maps_CZYX


def _drift_and_motion(
    head: Head, num_volumes: int, key: RunKey, config: SimulationConfig, clock: Clock
) -> tuple[Part, ...]:
    """Return what is slow: three drifts of the run, six motions, and the clock's drift."""
    rng = generator(config.seed, str(key), "slow")
    fields = rng.standard_normal((len(DRIFT_PERCENT), *head.grid.shape), dtype=np.float32)
    scale_C = np.array(DRIFT_PERCENT, dtype=np.float32)[:, None, None, None] / 100.0
    drift_maps = smooth(fields, head.grid, fwhm_mm=DRIFT_FWHM_MM) * scale_C * head.intensity_ZYX
    displacement_mm = config.motion_mm * float(rng.lognormal(0.0, MOTION_SD)) * clock.motion_factor
    motion_V6 = head_motion(num_volumes, displacement_mm=displacement_mm, rng=rng)
    slow = ((drift(num_volumes), drift_maps), (motion_V6, _motion_maps(head)))
    if not clock.is_running:
        return slow
    return (*slow, clock_drift(head, clock, num_volumes=num_volumes))


def _changes(parts: tuple[Part, ...]) -> Changes:
    maps = np.concatenate([maps_CZYX for _, maps_CZYX in parts])
    return Changes(
        courses_VC=np.hstack([courses_VC for courses_VC, _ in parts]),
        maps_CN=maps.reshape(len(maps), -1),
    )


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
