"""What is simulated: the truth, the size and the seed. Not here: the shape of the data sets."""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from spectrum.config.frozen import FrozenConfig
from spectrum.data.simulate.datasets import PLANS
from spectrum.data.simulate.truths import TruthName

__all__ = ["DEFAULT_EFFECT_PERCENT", "NATIVE_MATRIX", "SimulationConfig"]

NATIVE_MATRIX: Final = 64
"""Voxels along X and along Y of all 312 BOLD files."""

DEFAULT_EFFECT_PERCENT: Final = 0.3
"""Of the size of a real response. Chosen so that the linear decoder of ``tests/linear_decoder.py``
scores about 0.7 at 4 subjects a data set and 16 x 16 voxels: 0.694 over the seeds 100 to 123,
which are reported nowhere else (0.25: 0.643 over 100 to 111)."""


class SimulationConfig(FrozenConfig):
    """One simulation; the same configuration gives the same bytes on the same machine."""

    truth: TruthName
    """What is planted; ``TRUTHS`` says what each one is made of and what it promises."""

    num_subjects: int = Field(default=4, ge=1, le=500)
    """Subjects per data set; the real ids first, further ones counted on."""

    seed: int = Field(default=0, ge=0)
    """Seed of everything. Each run has generators of its own, so order does not matter."""

    matrix: int = Field(default=16, ge=8, le=NATIVE_MATRIX)
    """Voxels along X and along Y over 200 mm. 16 keeps a tree small; the scanner's is 64."""

    datasets: tuple[str, ...] = tuple(PLANS)
    """Data sets to write, from the four that are known."""

    effect_percent: float = Field(default=DEFAULT_EFFECT_PERCENT, ge=0.0, le=20.0)
    """Peak to trough of the deep response, percent of the voxel's mean. Truths without a deep
    response, ``leak`` and ``site``, do not use it."""

    motion_mm: float = Field(default=0.09, ge=0.0, le=2.0)
    """Typical mean framewise displacement, millimetres; 0 holds every head still. The default is
    the median of MRIQC's fd_mean in ds000002 and ds000017."""

    @field_validator("datasets")
    @classmethod
    def _are_known(cls, datasets: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(datasets) - set(PLANS))
        if unknown:
            raise ValueError(f"datasets names {unknown[0]}. Known are {', '.join(PLANS)}")
        if not datasets or len(set(datasets)) < len(datasets):
            raise ValueError(f"datasets is {datasets}. Name at least one, and each one once")
        return datasets
