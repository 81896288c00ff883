"""The course of one fold from its first epoch to its last, across stops.

Epochs that an interrupted fit has recorded are told again as they were, then the fold goes on
from its state: whoever follows sees the records of an undisturbed fit, bit for bit but with
``training.compile`` (``compiling``). Workers begin a fold together or not at all. Not here: the
files (``state_files``), and the order of the folds of a trial (``trial``).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch

from spectrum.config import MODEL_VERSION, TrialConfig, canonical_json
from spectrum.data.units import Fold, SequenceTable
from spectrum.records import EpochRecord, FoldRecord
from spectrum.training.feeds import Feed, Sequences
from spectrum.training.fold_end import FoldEnd, Kept
from spectrum.training.fold_fit import FoldFit
from spectrum.training.harmonising import feed_of_fold
from spectrum.training.place import Place
from spectrum.training.state_files import FoldStateFiles, StateFolder
from spectrum.training.together import all_begin, check_same_epoch

__all__ = ["FREE_TO_CHANGE", "FoldCourse", "folder_of_fold", "identity_of"]

FREE_TO_CHANGE: Final = ("feeding", "stream_gib", "idle_folds", "max_failures")
"""Fields of ``training`` that decide no number of a fit."""


HOST: Final = torch.device("cpu")

TENSORS_PER_WEIGHT: Final = 4
"""Weight, gradient and the two moments of AdamW."""


class FoldCourse:
    """One fold: ``advance`` until ``is_finished``, then ``finish``.

    Parameters
    ----------
    states : where the trial's states lie, or None to keep none
    num_together : folds that are fitted in turn and wait for each other

    Raises
    ------
    CheckpointError
        Where a state cannot be taken, or workers read states of different epochs.
    TrainingError
        Where another worker could not begin.
    """

    def __init__(
        self,
        feed: Feed,
        fold: Fold,
        config: TrialConfig,
        *,
        place: Place,
        states: StateFolder | None = None,
        num_together: int = 1,
    ) -> None:
        self.fold = fold
        self._told: deque[EpochRecord] = deque()
        self._unsaved: list[EpochRecord] = []
        self._saves = states is not None and place.parallel.rank == 0
        self._every_epochs = states.every_epochs if states is not None else 1
        self._files = None if states is None else _files(states, feed, fold, config, place)
        what = f"fold {fold.name}"
        fit = all_begin(place, what, lambda: self._begun(feed, config, place))
        check_same_epoch(place, what, fit.epoch)
        self._fit: FoldFit | FoldEnd | None = fit
        self._waits_on_host = False
        if isinstance(fit, FoldFit) and _waits_on_host(fit, config, place, num_together):
            self._waits_on_host = True
            fit.stepper.move(HOST)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs of the fold have been told."""
        return self._fit is None or (self._fit.is_finished and not self._told)

    @property
    def holds_model(self) -> bool:
        """Whether there is a model: none where the fold had ended before a stop, or has now."""
        return isinstance(self._fit, FoldFit)

    def advance(self) -> EpochRecord:
        """Return the record of the next epoch."""
        if self._told:
            return self._told.popleft()
        assert isinstance(self._fit, FoldFit)
        if self._waits_on_host:
            self._fit.stepper.move(self._fit.place.device)
        record = _measured(self._fit)
        if self._saves:
            self._unsaved.append(record)
            self._save_if_due(self._fit)
        if self._waits_on_host:
            self._fit.stepper.move(HOST)
        return record

    def finish(self, checkpoints: Path | None = None) -> FoldRecord:
        """Return the record of the kept epoch, and let go of the model.

        Parameters
        ----------
        checkpoints : gets a folder with the kept weights, or None
        """
        assert self._fit is not None
        folder = None if checkpoints is None else folder_of_fold(checkpoints, self.fold)
        record = self._fit.finish(folder)
        self._fit = None
        notes = self._files.notes if self._files is not None else ()
        return replace(record, notes=(*record.notes, *notes))

    def _begun(self, feed: Feed, config: TrialConfig, place: Place) -> FoldFit | FoldEnd:
        """Return the fold where its state left off, with its records to be told.

        One that had ended is not fitted again, so that no model is built for it.
        """
        state = self._files.read() if self._files is not None else None
        if state is not None:
            self._told.extend(state.records)
        if state is not None and state.is_finished:
            kept, own = Kept.of_state(state), feed_of_fold(feed, self.fold)
            return FoldEnd(own, self.fold, config, place=place, kept=kept, epoch=state.epoch)
        fit = FoldFit(feed, self.fold, config, place=place)
        if state is not None:
            fit.restore(state)
        return fit

    def _save_if_due(self, fit: FoldFit) -> None:
        assert self._files is not None
        if fit.is_finished or len(self._unsaved) >= self._every_epochs:
            self._files.write(fit.state(), self._unsaved)
            self._unsaved = []


def _measured(fit: FoldFit) -> EpochRecord:
    """Advance a fold by an epoch, and note what that took."""
    device = fit.place.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begin = time.perf_counter()
    record = fit.advance()
    seconds = time.perf_counter() - begin
    measured = {"seconds": seconds, "sequences_per_s": record.num_sequences / seconds}
    if device.type == "cuda":
        measured["device_memory_bytes"] = float(torch.cuda.max_memory_allocated(device))
    return replace(record, measured=measured)


def identity_of(
    source: Sequences, fold: Fold, config: TrialConfig, *, place: Place
) -> dict[str, Any]:
    """Return what decides the numbers of a fold, as plain JSON.

    Configuration, volumes, sequences with their classes, sides of the fold, version of the model,
    and what ``auto`` came to here: device, precision and number of workers.
    """
    told = config.model_dump(mode="json")
    for name in FREE_TO_CHANGE:
        del told["training"][name]
    if config.model.weights_sha256 is not None:
        # The digest says which weights; where the file lies decides no number.
        del told["model"]["weights"]
    return {
        "config": told,
        "data": source.content_hash,
        "sequences": _digest_of_sequences(source.table),
        "fold": asdict(fold),
        "model_version": MODEL_VERSION,
        "device": place.device.type,
        "dtype": str(place.dtype),
        "num_workers": place.num_workers,
    }


def folder_of_fold(parent: Path, fold: Fold) -> Path:
    """Return the folder of a fold; its name is the fold's, without odd characters."""
    return parent / re.sub(r"[^A-Za-z0-9._-]+", "_", fold.name)


def _waits_on_host(fit: FoldFit, config: TrialConfig, place: Place, num_together: int) -> bool:
    if num_together == 1 or config.training.idle_folds == "device":
        return False
    if config.training.idle_folds == "host":
        return True
    num_bytes = sum(p.numel() * p.element_size() for p in fit.model.parameters())
    return not place.has_room_for(num_together * TENSORS_PER_WEIGHT * num_bytes)


def _digest_of_sequences(table: SequenceTable) -> str:
    """Return a digest of which volumes make which sequence, and of their classes."""
    digest = hashlib.sha256(canonical_json([table.classes, table.offsets.tolist()]).encode())
    for array in (table.run_of_sequence, table.start_of_sequence, table.class_of_sequence):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()


def _files(
    states: StateFolder, feed: Feed, fold: Fold, config: TrialConfig, place: Place
) -> FoldStateFiles:
    return FoldStateFiles(
        folder_of_fold(states.path, fold),
        identity=identity_of(feed.source, fold, config, place=place),
        table=feed.source.table,
        begins_again=states.begins_again,
        spare_bytes=states.spare_bytes,
    )
