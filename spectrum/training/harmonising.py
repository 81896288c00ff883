"""One intensity scale for all data sets of a fold, put on batches as they reach the device.

Each run is measured once, whatever the number of folds: its mask and the moments of its voxels.
A fold's scales come from its training runs alone; what a batch then takes is a factor and a shift
for each of its sequences, inside the mask of its run. The volumes themselves stay as they are, in
every mode of feeding, and are never copied. Not here: what a scale is (``data.harmonisation``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectrum.config import TrainingConfig
from spectrum.data.harmonisation import (
    Harmonisation,
    IntensityScale,
    RunMoments,
    fit_moments,
    inside_of,
)
from spectrum.data.units import Fold, SequenceData, SequenceRuns, SequenceTable
from spectrum.training.factors import factor_of
from spectrum.training.feeds import Feed

__all__ = [
    "FoldFeeds",
    "HarmonisedFeed",
    "MeasuredRuns",
    "feed_of_fold",
    "feed_on_scale",
    "harmonisation_of",
    "trial_feed",
]


class MeasuredRuns:
    """Moments and masks of the runs that are used, in the order of the shard set.

    Masks take a byte a voxel and run: of a run with V volumes, 1 in 2 V of its bytes.

    Parameters
    ----------
    source : read once, run by run
    """

    def __init__(self, source: SequenceData | SequenceRuns) -> None:
        table = source.table
        self.dataset_of_run = {unit.run_index: unit.key.dataset for unit in table.units}
        self.moments_of_run: dict[int, RunMoments] = {}
        self.row_of_run = {run: row for row, run in enumerate(table.used_runs)}
        self.inside_RSHW = np.zeros((len(table.used_runs), *source.volume_shape), dtype=bool)
        for run in table.used_runs:
            slices_VSHW = _read_run(source, run)
            factor = factor_of(table, run)
            self.moments_of_run[run] = RunMoments.of(slices_VSHW, factor=factor)
            self.inside_RSHW[self.row_of_run[run]] = inside_of(slices_VSHW)

    def fit(self, table: SequenceTable, fold: Fold) -> Harmonisation:
        """Fit the scales on the runs of the fold's training units; others are not looked at."""
        runs = sorted({table.units[unit].run_index for unit in fold.training})
        return fit_moments((self.dataset_of_run[run], self.moments_of_run[run]) for run in runs)

    def scale_of_run(self, harmonisation: Harmonisation, run: int) -> IntensityScale:
        """Return a run's scale: its data set's, or its own where that was not in training."""
        return harmonisation.scale_from(self.dataset_of_run[run], self.moments_of_run[run])


class HarmonisedFeed:
    """A feed of one fold whose slices are on the fold's common scale.

    Parameters
    ----------
    feed : in the unit of the recipe
    runs : measured on the same data
    harmonisation : the scales of the fold
    inside_RSHW : masks of ``runs``, on the device
    """

    def __init__(
        self, feed: Feed, runs: MeasuredRuns, harmonisation: Harmonisation, *, inside_RSHW: Tensor
    ) -> None:
        self._feed = feed
        self._inside_RSHW = inside_RSHW
        self.source = feed.source
        self.class_index = feed.class_index
        self.device = feed.device
        table = feed.source.table
        self.harmonisation = harmonisation
        used = [(run, runs.scale_of_run(self.harmonisation, run)) for run in table.used_runs]
        factors = [1.0 / scale.sd for _, scale in used]
        shifts = [-scale.mean / scale.sd for _, scale in used]
        rows = np.array([runs.row_of_run[run] for run in table.run_of_sequence.tolist()])
        self._row_of_sequence = torch.from_numpy(rows).to(self.device)
        self._factor_R = torch.tensor(factors, dtype=torch.float32, device=self.device)
        self._shift_R = torch.tensor(shifts, dtype=torch.float32, device=self.device)

    def level(self, sequences: Tensor) -> float:
        """Return the root mean square of the training voxels: 1, as every data set has it."""
        del sequences
        return 1.0

    def iter_read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the float32 slices (B, T, S, H, W) of each part (B,) of sequences, in order."""
        for part, slices_BTSHW in zip(parts, self._feed.iter_read(parts), strict=True):
            rows = self._row_of_sequence[part.to(self.device)]
            factor = self._factor_R[rows][:, None, None, None, None]
            shift = self._shift_R[rows][:, None, None, None, None]
            # Outside the mask of its run a voxel is 0 in every volume, and stays so.
            yield torch.addcmul(slices_BTSHW * factor, shift, self._inside_RSHW[rows][:, None])


class FoldFeeds:
    """Feeds of the folds of one trial, which share the measured runs; itself a plain feed.

    Parameters
    ----------
    feed : in the unit of the recipe
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._runs = MeasuredRuns(feed.source)
        self._inside_RSHW = torch.from_numpy(self._runs.inside_RSHW).to(feed.device)
        self.source = feed.source
        self.class_index = feed.class_index
        self.device = feed.device

    def level(self, sequences: Tensor) -> float:
        """Return the level in the unit of the recipe."""
        return self._feed.level(sequences)

    def iter_read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the slices in the unit of the recipe."""
        return self._feed.iter_read(parts)

    def of_fold(self, fold: Fold) -> HarmonisedFeed:
        """Return the feed of a fold, whose training units decide the scales."""
        return self.on_scale(self._runs.fit(self.source.table, fold))

    def on_scale(self, harmonisation: Harmonisation) -> HarmonisedFeed:
        """Return a feed on scales that are known, such as those of a checkpoint."""
        return HarmonisedFeed(self._feed, self._runs, harmonisation, inside_RSHW=self._inside_RSHW)


def trial_feed(feed: Feed, config: TrainingConfig) -> Feed:
    """Return what the folds of a trial are fed from: every run is measured where it must be."""
    return feed if config.harmonisation == "none" else FoldFeeds(feed)


def feed_of_fold(feed: Feed, fold: Fold) -> Feed:
    """Return the feed on the scale of a fold, where the trial harmonises; else the feed itself."""
    return feed.of_fold(fold) if isinstance(feed, FoldFeeds) else feed


def feed_on_scale(feed: Feed, harmonisation: Harmonisation | None) -> Feed:
    """Return the feed on the scales of a fit; the feed itself where it did not harmonise."""
    if harmonisation is None:
        return feed
    return (feed if isinstance(feed, FoldFeeds) else FoldFeeds(feed)).on_scale(harmonisation)


def harmonisation_of(feed: Feed) -> Harmonisation | None:
    """Return the scales of a fold's feed; None where the trial does not harmonise."""
    return feed.harmonisation if isinstance(feed, HarmonisedFeed) else None


def _read_run(source: SequenceData | SequenceRuns, run: int) -> NDArray[np.float16]:
    """Return the volumes of a run in the order in which every mode adds them up."""
    if isinstance(source, SequenceRuns):
        return np.ascontiguousarray(source.read_run(run))
    first = int(source.first_volume_of_run[run])
    later = source.first_volume_of_run[source.first_volume_of_run > first]
    return source.slices_VSHW[first : int(later.min()) if later.size else None]
