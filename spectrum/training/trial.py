"""One trial: all folds fitted side by side, epoch by epoch, with the score pooled over them.

Epoch by epoch gives a pruner the mean over all folds at every epoch; fold by fold would tell it
of one held-out data set for a long time. Not here: what a score is (``spectrum.scores``).
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path

from spectrum.config import TrialConfig
from spectrum.data.folds import check_folds, draw_folds
from spectrum.data.units import Fold
from spectrum.records import EpochRecord, FoldRecord, Prediction, TrialEpochRecord
from spectrum.scores import score_predictions
from spectrum.training.feeds import Sequences, build_feed
from spectrum.training.fold_fit import FoldFit
from spectrum.training.harmonising import trial_feed
from spectrum.training.place import Parallel, Place

__all__ = ["draw_trial_folds", "fit_trial"]

ALONE = Parallel()
"""One worker."""


def draw_trial_folds(data: Sequences, config: TrialConfig) -> tuple[Fold, ...]:
    """Draw and check the folds of one configuration, with monitors where folds may stop early."""
    watch = config.training.monitor_fraction if config.training.patience_epochs else None
    folds = draw_folds(data.table, config.folds, paired=data.paired, monitor_fraction=watch)
    check_folds(folds, data.table, config.folds)
    return folds


def fit_trial(
    data: Sequences,
    folds: Sequence[Fold],
    config: TrialConfig,
    *,
    parallel: Parallel = ALONE,
    checkpoints: Path | None = None,
) -> Generator[TrialEpochRecord, None, tuple[FoldRecord, ...]]:
    """Fit all folds; yield a record after each epoch of all, return those of the folds.

    A fold that stopped early stands in later records with its last epoch. The last record, with
    ``finished``, is scored by the kept epoch of each fold; its ``folds`` are the last epochs.

    Parameters
    ----------
    folds : at least one
        Their numbers do not depend on each other.
    parallel : this worker; every worker yields the same records
    checkpoints : folder for one checkpoint a fold, or None
    """
    place = Place.choose(config.training, parallel)
    feed = trial_feed(build_feed(data, place.device, config.training), config.training)
    fits = [FoldFit(feed, fold, config, place=place) for fold in folds]
    last: dict[str, EpochRecord] = {}
    epoch = 0
    while True:
        last |= {fit.fold.name: fit.advance() for fit in fits if not fit.is_finished}
        if all(fit.is_finished for fit in fits):
            break
        yield _record(data, epoch, last, _last_predictions(last), finished=False)
        epoch += 1
    records = tuple(fit.finish(_folder(checkpoints, fit.fold)) for fit in fits)
    kept = tuple(prediction for record in records for prediction in record.predictions)
    yield _record(data, epoch, last, kept, finished=True)
    return records


def _last_predictions(last: dict[str, EpochRecord]) -> tuple[Prediction, ...]:
    return tuple(prediction for record in last.values() for prediction in record.predictions)


def _record(
    data: Sequences,
    epoch: int,
    last: dict[str, EpochRecord],
    predictions: tuple[Prediction, ...],
    *,
    finished: bool,
) -> TrialEpochRecord:
    return TrialEpochRecord(
        epoch=epoch,
        score=score_predictions(predictions, classes=data.table.classes, paired=data.paired),
        folds=tuple(last.values()),
        finished=finished,
    )


def _folder(checkpoints: Path | None, fold: Fold) -> Path | None:
    """Return the folder of a fold's checkpoint; its name is the fold's, without odd characters."""
    return (
        None if checkpoints is None else checkpoints / re.sub(r"[^A-Za-z0-9._-]+", "_", fold.name)
    )
