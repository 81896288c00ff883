"""One trial: all its folds in one of two orders, with the score pooled over them.

Epoch by epoch gives a pruner the score over all folds at every epoch, and needs the models of all
folds at once; fold by fold needs one, and lets folds be left out of a trial that the first ones
show to be hopeless, but tells of one held-out data set for a long time. A fold's numbers are the
same in both, but for rounding with ``training.compile``. Not here: what a score is
(``spectrum.scores``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from spectrum.config import TrialConfig
from spectrum.data.folds import check_folds, draw_folds
from spectrum.data.units import Fold
from spectrum.records import EpochRecord, FoldRecord, TrialEpochRecord
from spectrum.scores import score_predictions
from spectrum.training.course import FoldCourse
from spectrum.training.feeds import Feed, Sequences, build_feed
from spectrum.training.harmonising import trial_feed
from spectrum.training.place import Parallel, Place
from spectrum.training.state_files import StateFolder
from spectrum.training.together import all_begin

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
    states: StateFolder | None = None,
) -> Generator[TrialEpochRecord, None, tuple[FoldRecord, ...]]:
    """Fit all folds; yield a record after each epoch, of all folds or of the fold at hand.

    Epoch by epoch, a fold that stopped early stands in later records with its last epoch. The last
    record, with ``finished``, is scored by the kept epoch of each fold; its ``folds`` are the last
    epochs.

    Parameters
    ----------
    folds : at least one
        Their numbers do not depend on each other.
    parallel : this worker; every worker yields the same records
    checkpoints : folder for one checkpoint a fold, or None
    states : where an interrupted fit of this trial left off, and where this one leaves its states
        Records of epochs done before come first, so that they are those of an undisturbed fit.

    Raises
    ------
    CheckpointError
        Where states are damaged, or of another configuration or data.
    TrainingError
        Where another worker could not begin.
    """
    place = Place.choose(config.training, parallel)
    feed = all_begin(place, "the trial", lambda: _feed(data, config, place))
    by_fold = config.training.fold_order == "fold"
    num_together = 1 if by_fold else len(folds)
    courses = (
        FoldCourse(feed, fold, config, place=place, states=states, num_together=num_together)
        for fold in folds
    )
    last: dict[str, EpochRecord] = {}
    ended: dict[str, FoldRecord] = {}
    for epoch, (told, over) in enumerate((_fold_by_fold if by_fold else _epoch_by_epoch)(courses)):
        last |= {record.fold: record for record in told}
        ended |= {course.fold.name: course.finish(checkpoints) for course in over}
        yield _record(data, epoch, last, ended, finished=len(ended) == len(folds))
    return tuple(ended.values())


def _feed(data: Sequences, config: TrialConfig, place: Place) -> Feed:
    return trial_feed(build_feed(data, place.device, config.training), config.training)


Round = tuple[list[EpochRecord], Sequence[FoldCourse]]
"""What folds told in one round, and the folds that are over with it."""


def _epoch_by_epoch(courses: Iterable[FoldCourse]) -> Iterator[Round]:
    together = tuple(courses)
    while not all(course.is_finished for course in together):
        told = [course.advance() for course in together if not course.is_finished]
        yield told, together if all(course.is_finished for course in together) else ()


def _fold_by_fold(courses: Iterable[FoldCourse]) -> Iterator[Round]:
    for course in courses:
        while not course.is_finished:
            told = [course.advance()]
            yield told, (course,) if course.is_finished else ()


def _record(
    data: Sequences,
    epoch: int,
    last: Mapping[str, EpochRecord],
    ended: Mapping[str, FoldRecord],
    *,
    finished: bool,
) -> TrialEpochRecord:
    told: Mapping[str, EpochRecord | FoldRecord] = {**last, **ended}
    predictions = [prediction for record in told.values() for prediction in record.predictions]
    return TrialEpochRecord(
        epoch=epoch,
        score=score_predictions(predictions, classes=data.table.classes, paired=data.paired),
        folds=tuple(last.values()),
        finished=finished,
        ended_folds=tuple(ended),
    )
