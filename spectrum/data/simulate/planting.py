"""What a truth plants in a run: the deep response, a mark, the clock's drift. Not here: when."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.simulate.anatomy import Head
from spectrum.data.simulate.seeding import generator
from spectrum.data.simulate.truths import TRUTHS, Learning, MarkOf
from spectrum.entities import RunKey

if TYPE_CHECKING:
    from spectrum.data.simulate.config import SimulationConfig
    from spectrum.data.simulate.datasets import TaskPlan

__all__ = ["EARLY", "LATE", "MARK_RESPONSE_PERCENT", "mark_pattern", "marked", "planted_percent"]

EARLY: Final = MappingProxyType({"medial temporal lobe": 1.0, "striatum": -0.1})
LATE: Final = MappingProxyType({"medial temporal lobe": -0.1, "striatum": 1.0})
"""Share of ``effect_percent`` in each deep system, after Poldrack et al. 2001 (Nature 414:546):
medial temporal lobe active, then deactivated; caudate the reverse."""

MARK_PERCENT: Final = 8.0
"""Spread over voxels of a mark in the mean image, percent of the voxel's mean; about two thirds
of the texture by which heads differ anyway."""

MARK_RESPONSE_PERCENT: Final = 1.5
"""Spread over voxels of a mark in the event response, percent of the voxel's mean; less than
the response that every event drives."""

NUM_WAVES: Final = 12
WAVELENGTH_MM: Final = (60.0, 120.0)
"""A mark is a sum of plane waves, so that it is the same whatever the slices of a subject."""


def planted_percent(task: TaskPlan, key: RunKey, config: SimulationConfig) -> dict[str, float]:
    """Return the peak of each deep system's response in a run, percent, signed.

    By ``stage``, run 1 of a task that is learnt is early and run 2 late; a reversal is learnt
    anew. By ``coin``, one coin serves both runs of a pair: each pattern is as common as by stage,
    and equally often early and late whatever the seed. All zero where nothing is learnt.
    """
    learning: Learning = TRUTHS[config.truth].learning
    amplitude = config.effect_percent if task.learns and learning != "none" else 0.0
    coin = generator(config.seed, key.group, key.session, key.task, "coin").random()
    is_early = key.run_number == 1 if learning == "stage" else bool(coin < 0.5)
    pattern = EARLY if is_early else LATE
    return {system: amplitude * share for system, share in pattern.items()}


def mark_pattern(
    head: Head, mark_of: MarkOf, *, key: RunKey, seed: int
) -> NDArray[np.float32] | None:
    """Return the mark that a run's images bear, (Z, Y, X); None where there is none.

    It depends on the subject, or on the data set, and on nothing else; its spread over space is
    about 1.
    """
    if mark_of == "nobody":
        return None
    rng = generator(seed, key.group if mark_of == "subject" else key.dataset, "mark")
    z_mm, y_mm, x_mm = np.ix_(*(head.grid.axis_mm(axis) for axis in (2, 1, 0)))
    pattern_ZYX = np.zeros(head.grid.shape)
    for _ in range(NUM_WAVES):
        direction = rng.normal(size=3)
        wave = direction / np.linalg.norm(direction) * 2.0 * np.pi / rng.uniform(*WAVELENGTH_MM)
        phase = rng.uniform(0.0, 2.0 * np.pi)
        pattern_ZYX += np.cos(wave[0] * x_mm + wave[1] * y_mm + wave[2] * z_mm + phase)
    return np.asarray(pattern_ZYX * np.sqrt(2.0 / NUM_WAVES), dtype=np.float32)


def marked(head: Head, mark_ZYX: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the head's intensity with a mark in it, (Z, Y, X)."""
    factor = 1.0 + np.clip(MARK_PERCENT / 100.0 * mark_ZYX, -0.5, 0.5)
    return np.asarray(head.intensity_ZYX * factor, dtype=np.float32)
