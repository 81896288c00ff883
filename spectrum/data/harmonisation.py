"""One intensity scale for all data sets, fitted on the training runs of a fold and nothing else.

Scanners differ in their unit: foreground medians of the four data sets lie between 480 and 2000.
Each data set of the training side gets a mean and a standard deviation over the voxels inside its
masks. A data set without training runs (the held-out one of leave-one-dataset-out) has neither,
and statistics over its held-out runs would be a leak; there each run is put on the scale by its
own mean and standard deviation, which needs no other run and no class, and can be done as well to
a single run of a new scanner. The price: differences of level between runs of one data set survive
in training and not in such runs. Not here: when it is fitted and put on batches
(``spectrum.training.harmonising``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectrum.errors import DataError

__all__ = [
    "Harmonisation",
    "IntensityScale",
    "RunMoments",
    "fit_harmonisation",
    "fit_moments",
    "inside_of",
]

Slices = NDArray[np.float16] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntensityScale:
    """Mean and standard deviation over voxels and volumes; ``sd`` is above 0."""

    mean: float
    sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmonisation:
    """The scales of the data sets of one fold's training side."""

    scale_of_dataset: Mapping[str, IntensityScale]

    def scale_for(
        self, dataset: str, slices_VSHW: Slices, *, factor: float = 1.0
    ) -> IntensityScale:
        """Return the scale of a run: its data set's, or its own where that was not in training."""
        known = self.scale_of_dataset.get(dataset)
        return known or self.scale_from(dataset, RunMoments.of(slices_VSHW, factor=factor))

    def scale_from(self, dataset: str, moments: RunMoments) -> IntensityScale:
        """Return the scale of a run whose moments are known."""
        return self.scale_of_dataset.get(dataset) or _scale([moments], dataset)

    def harmonise(
        self, dataset: str, slices_VSHW: Slices, *, factor: float = 1.0
    ) -> NDArray[np.float32]:
        """Return a run on the common scale; voxels outside its mask stay 0.

        Parameters
        ----------
        dataset : of the run
        slices_VSHW : one whole run, 0 in all volumes outside its mask
        factor : of the stored values, for their unit (``ShardRun.scale``)

        Raises
        ------
        DataError
            ``no-contrast`` where a run without known data set has one value in all voxels.
        """
        scale = self.scale_for(dataset, slices_VSHW, factor=factor)
        values = slices_VSHW.astype(np.float32) * np.float32(factor)
        shifted = (values - np.float32(scale.mean)) / np.float32(scale.sd)
        return np.where(inside_of(slices_VSHW), shifted, np.float32(0.0))


def fit_harmonisation(training: Iterable[tuple[str, Slices]]) -> Harmonisation:
    """Fit the scales on the training runs of one fold.

    Parameters
    ----------
    training : data set and slices of each run, 0 in all volumes outside its mask
        Gone through once, so that runs may come one at a time.

    Raises
    ------
    DataError
        ``no-contrast`` where all voxels of a data set have one value.
    """
    return fit_moments((dataset, RunMoments.of(slices)) for dataset, slices in training)


def fit_moments(training: Iterable[tuple[str, RunMoments]]) -> Harmonisation:
    """Fit the scales on the moments of the training runs of one fold; see ``fit_harmonisation``.

    Parameters
    ----------
    training : data set and moments of each run
    """
    moments_of: dict[str, list[RunMoments]] = {}
    for dataset, moments in training:
        moments_of.setdefault(dataset, []).append(moments)
    return Harmonisation(
        scale_of_dataset={name: _scale(found, name) for name, found in sorted(moments_of.items())}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMoments:
    """Count, mean and sum of squared deviations of a run's voxels inside its mask."""

    count: int
    mean: float
    squares: float

    @classmethod
    def of(cls, slices_VSHW: Slices, *, factor: float = 1.0) -> RunMoments:
        """Measure a run, volume by volume, so that no copy of it is made.

        Parameters
        ----------
        slices_VSHW : contiguous, for the same sums wherever the run lies
        factor : of the stored values, for their unit
        """
        inside = inside_of(slices_VSHW)
        count = int(inside.sum()) * len(slices_VSHW)
        if not count:
            return cls(count=0, mean=0.0, squares=0.0)
        total = sum(float(v[inside].sum(dtype=np.float64)) for v in slices_VSHW)
        mean = total / count
        squares = sum(
            float(((v[inside].astype(np.float64) - mean) ** 2).sum()) for v in slices_VSHW
        )
        return cls(count=count, mean=factor * mean, squares=factor**2 * squares)


def inside_of(slices_VSHW: Slices) -> NDArray[np.bool_]:
    """Return the mask of a run, (S, H, W): where any volume is not 0."""
    return np.asarray((slices_VSHW != 0).any(axis=0))


def _scale(runs: Sequence[RunMoments], dataset: str) -> IntensityScale:
    """Pool moments, each run's spread and the spread between runs."""
    count = sum(run.count for run in runs)
    mean = sum(run.count * run.mean for run in runs) / max(count, 1)
    squares = sum(run.squares + run.count * (run.mean - mean) ** 2 for run in runs)
    sd = math.sqrt(squares / max(count, 1))
    if not sd > 0.0:
        raise DataError(
            f"All voxels of the runs of {dataset} have one value. "
            "Expected images; look at the recipe, or leave the data set out.",
            code="no-contrast",
        )
    return IntensityScale(mean=mean, sd=sd)
