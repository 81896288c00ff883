"""BIDS trees with a planted truth, in the shape of the four data sets.

``datasets`` says what the trees look like, ``designs`` when events happen, ``anatomy`` where
tissue and planted regions lie, ``signal`` how they move in time, ``image`` makes one run of it
and ``writing`` puts it on disk. Not here: anything that reads the trees again.
"""

from spectrum.data.simulate.anatomy import DEEP_REGIONS, TASK_REGIONS, Region
from spectrum.data.simulate.config import (
    DEFAULT_EFFECT_PERCENT,
    NATIVE_MATRIX,
    SimulationConfig,
)
from spectrum.data.simulate.image import SimulatedRun, planned_runs, simulate_run
from spectrum.data.simulate.truths import TRUTHS, Truth, TruthName
from spectrum.data.simulate.writing import simulate

__all__ = [
    "DEEP_REGIONS",
    "DEFAULT_EFFECT_PERCENT",
    "NATIVE_MATRIX",
    "TASK_REGIONS",
    "TRUTHS",
    "Region",
    "SimulatedRun",
    "SimulationConfig",
    "Truth",
    "TruthName",
    "planned_runs",
    "simulate",
    "simulate_run",
]
