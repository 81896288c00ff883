"""Time in the session: how many runs came before a run, and what goes with them.

A clock knows nothing of learning: it goes on from the weather runs of ds000052 to its reversal
runs, from one task of a subject to the next, and starts anew in every session. Not here: whether
a truth has a clock (``truths``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.simulate.anatomy import Head
from spectrum.data.simulate.datasets import PLANS
from spectrum.data.simulate.seeding import generator
from spectrum.entities import RunKey

__all__ = ["STOPPED", "Clock", "clock_drift", "read_clock", "runs_before"]

JITTER_RUNS: Final = 0.4
"""Spread of a run's place on the clock: breaks between runs differ. In runs."""

SMEAR: Final = 0.036
"""Share of a slice's mean signal that is smeared all over the slice in the first run, as motion
and pulsation do; its square rises by as much in each run. With it the mean of the air is higher
late than early in 85 % of 360 pairs (real numbers of subjects, seeds 1, 2, 100, 101, 16 x 16
voxels), and in the real data in 83 % of 90 (MRIQC's summary_bg_mean)."""

GHOST_PER_RUN: Final = 0.02
"""Rise of the ghost from run to run, relative; in the real pairs it rises in 67 % (gsr_y)."""

MOTION_PER_RUN: Final = 0.16
"""Rise of log displacement from run to run. Against the spread between runs it makes run 2 the
one that moves more in about 63 % of pairs, as in the real ones (MRIQC's fd_mean)."""

DRIFT_PERCENT_PER_RUN: Final = 1.0
"""Change of the intensity from front to back of the head in one run, each way, percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where a run stands in its session; ``elapsed_runs`` is 0 about the first run's start."""

    elapsed_runs: float
    is_running: bool = True

    @property
    def smear_fraction(self) -> float:
        """Which share of a slice's mean signal lies all over it, air included."""
        return SMEAR * float(np.sqrt(max(0.0, 1.0 + self.elapsed_runs))) * self.is_running

    @property
    def ghost_factor(self) -> float:
        """What the ghost is multiplied by."""
        return 1.0 + GHOST_PER_RUN * self.elapsed_runs

    @property
    def motion_factor(self) -> float:
        """What the displacement of the head is multiplied by."""
        return float(np.exp(MOTION_PER_RUN * self.elapsed_runs))


STOPPED: Final = Clock(elapsed_runs=0.0, is_running=False)
"""No clock: every run is as at the session's start, and nothing drifts along."""


def runs_before(key: RunKey, *, seed: int) -> int:
    """Return how many runs of the session came before a run.

    Where the order differed between subjects, and where the files do not tell it, a coin of the
    subject decides among the orders of the data set.
    """
    plan = PLANS[key.dataset]
    coin = generator(seed, key.group, "order").integers(len(plan.orders))
    order = plan.orders[int(coin)]
    return order.index((key.task, key.run))


def read_clock(key: RunKey, *, seed: int) -> Clock:
    """Return the clock of a run: the runs before it, and a jitter of its own."""
    jitter = generator(seed, str(key), "clock").normal()
    return Clock(elapsed_runs=runs_before(key, seed=seed) + JITTER_RUNS * float(jitter))


def clock_drift(
    head: Head, clock: Clock, *, num_volumes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the course (V, 1) and the map (1, Z, Y, X) of what has drifted since the start.

    The intensity rises in front and falls behind, equally fast in every run of a session.
    """
    within = (np.arange(num_volumes) + 0.5) / num_volumes
    y_mm = head.grid.axis_mm(1)
    slope_Y = (y_mm - y_mm.mean()) / np.abs(y_mm - y_mm.mean()).max()
    drift_ZYX = DRIFT_PERCENT_PER_RUN / 100.0 * slope_Y[:, None] * head.intensity_ZYX
    course_V1 = (clock.elapsed_runs + within)[:, None]
    return course_V1.astype(np.float32), drift_ZYX[None].astype(np.float32)
