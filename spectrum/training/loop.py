"""The loop: one fold, epoch by epoch, yielding records. It knows no logger, no Ray, no clock.

Not here: a fold's state and rules (``fold_fit``), one step (``step``), all folds (``trial``).
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from spectrum.config import TrialConfig
from spectrum.data.units import Fold
from spectrum.records import EpochRecord, FoldRecord
from spectrum.training.feeds import Sequences, build_feed
from spectrum.training.fold_fit import FoldFit
from spectrum.training.place import Parallel, Place

__all__ = ["Parallel", "fit_fold"]

ALONE = Parallel()
"""One worker."""


def fit_fold(
    data: Sequences,
    fold: Fold,
    config: TrialConfig,
    *,
    parallel: Parallel = ALONE,
    checkpoint: Path | None = None,
) -> Generator[EpochRecord, None, FoldRecord]:
    """Fit one fold; yield a record after each epoch, return that of the kept checkpoint.

    Parameters
    ----------
    data : all sequences of the target
    fold : which units train, watch and are held out
    parallel : this worker; every worker yields the same records
    checkpoint : folder to write the kept weights to, or None to keep none on disk

    Raises
    ------
    TrainingError
        Where the loss is no longer finite.
    """
    place = Place.choose(config.training, parallel)
    fit = FoldFit(build_feed(data, place.device, config.training), fold, config, place=place)
    while not fit.is_finished:
        yield fit.advance()
    return fit.finish(checkpoint)
