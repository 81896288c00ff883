"""The end of a fold: its kept epoch becomes a record and a checkpoint.

Needs neither model nor optimiser, so that a fold that had ended before a stop builds none. Not
here: which epoch is kept (``fold_fit``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import Tensor

from spectrum.config import TrialConfig
from spectrum.data.units import Fold
from spectrum.records import FoldRecord
from spectrum.scores import score_predictions
from spectrum.training.checkpoints import CheckpointHeader, scales_in_header, write_checkpoint
from spectrum.training.feeds import Feed
from spectrum.training.fold_state import FitState
from spectrum.training.harmonising import harmonisation_of
from spectrum.training.place import Place
from spectrum.training.predictions import Evaluation

__all__ = ["FoldEnd", "Kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """The epoch that a fold would end with if it ended now."""

    epoch: int
    monitor_loss: float | None
    validation: Evaluation
    weights: Mapping[str, Tensor]

    @classmethod
    def of_state(cls, state: FitState) -> Self:
        """Return the kept epoch of a state that has one, with its record."""
        assert state.kept is not None
        record = state.records[state.kept.epoch]
        validation = Evaluation(
            loss=record.validation_loss,
            accuracy=record.validation_accuracy,
            predictions=record.predictions,
        )
        return cls(state.kept.epoch, state.kept.monitor_loss, validation, state.kept.weights)


class FoldEnd:
    """A fold that has trained all its epochs.

    Parameters
    ----------
    feed : of the fold
    kept : the epoch that it ends with
    epoch : epochs done
    """

    is_finished = True

    def __init__(
        self,
        feed: Feed,
        fold: Fold,
        config: TrialConfig,
        *,
        place: Place,
        kept: Kept,
        epoch: int = 0,
    ) -> None:
        self.feed, self.fold, self.config, self.place = feed, fold, config, place
        self.kept, self.epoch = kept, epoch

    def finish(self, checkpoint: Path | None = None) -> FoldRecord:
        """Return the record of the kept epoch, and write its weights where a folder is given."""
        kept, table = self.kept, self.feed.source.table
        if checkpoint is not None and self.place.parallel.rank == 0:
            write_checkpoint(checkpoint, kept.weights, self._header())
        return FoldRecord(
            fold=self.fold.name,
            held_out=self.fold.held_out,
            epoch=kept.epoch,
            num_training=len(table.sequences_of(self.fold.training)),
            num_validation=len(table.sequences_of(self.fold.validation)),
            score=self._score(),
            loss=kept.validation.loss,
            checkpoint="" if checkpoint is None else str(checkpoint),
            predictions=kept.validation.predictions,
        )

    def _score(self) -> float:
        record = score_predictions(
            self.kept.validation.predictions,
            classes=self.feed.source.table.classes,
            paired=self.feed.source.paired,
        )
        return record.value

    def _header(self) -> CheckpointHeader:
        source = self.feed.source
        return CheckpointHeader(
            config=self.config,
            shape_TSHW=(source.table.num_volumes, *source.volume_shape),
            classes=source.table.classes,
            scored_classes=self.fold.classes,
            fold=self.fold.name,
            held_out=self.fold.held_out,
            epoch=self.kept.epoch,
            data_hash=source.content_hash,
            scale_of_dataset=scales_in_header(harmonisation_of(self.feed)),
        )
