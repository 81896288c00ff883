"""The objective of a real study: one configuration over all folds, in one process or several.

The recipe of a trial selects its shard set, and makes it where no trial has yet. Not here: Ray
Tune, which calls this once a trial, and how a fold is fitted (``spectrum.training``).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spectrum.config import TrialConfig, canonical_json
from spectrum.data.folds import check_folds, read_folds
from spectrum.data.holders import mark_held
from spectrum.data.pipeline import Making, prepare
from spectrum.data.runs import RunTable
from spectrum.data.shards import ShardSet
from spectrum.data.store import prune_sets
from spectrum.data.units import Fold, SequenceTable
from spectrum.errors import ShardError
from spectrum.records import TrialEpochRecord
from spectrum.scores import further_metrics
from spectrum.search.folder import STATE_NAME
from spectrum.search.stored_parts import CHECKPOINTS_NAME
from spectrum.search.stored_trials import stored_trial
from spectrum.search.trials import TrialEnd
from spectrum.storage import Patience, working_copy
from spectrum.targets import Target

if TYPE_CHECKING:
    from spectrum.training.feeding import FedSequences
    from spectrum.training.node_copies import NodeCopies

__all__ = ["SharedInputs", "StudyObjective", "folds_of_trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedInputs:
    """What all trials of a study share; plain values, which travel to worker processes.

    ``folds`` is the study's fold manifest, ``trials`` the folder of the trials' own folders,
    ``disk_bytes`` what all shard sets together may take, or None, ``holder`` who keeps the sets
    that the trials use from being removed by others, or "". ``study_at`` and ``shards_at`` are
    the addresses of a store, where study and shard sets are on no disk that all nodes share, or
    ""; ``folds_sha256`` tells the fold manifest from that of another study then.
    """

    table: RunTable
    target: Target
    shards_root: Path
    folds: Path
    trials: Path
    disk_bytes: int | None = None
    holder: str = ""
    study_at: str = ""
    shards_at: str = ""
    folds_sha256: str = ""

    def on_this_node(self) -> SharedInputs:
        """Return the same with the folders of this node's own working copies."""
        here = self
        if self.shards_at:
            here = replace(here, shards_root=working_copy(self.shards_at).path)
        if self.study_at:
            studies, _, name = self.study_at.rpartition("/")
            study = working_copy(studies).path / name
            here = replace(here, trials=study / "trials", folds=study / self.folds.name)
        return here

    def apart(self, trials: Path) -> SharedInputs:
        """Return the same for a fit that is no trial of the study, so that nothing is stored.

        Parameters
        ----------
        trials : folder of this node, where such a fit leaves what it makes
        """
        here = self.on_this_node()
        fetching = stored_trial(trials / "apart", here.study_at, writes=False)
        fetching.begin(here.folds, here.folds_sha256)
        return replace(here, trials=trials, study_at="")


class StudyObjective:
    """Trains trials one after the other; keeps the volumes of the last one.

    Parameters
    ----------
    shared : the same for all trials
    """

    def __init__(self, shared: SharedInputs) -> None:
        self._shared = shared.on_this_node()
        self._key = ""
        self._fed: FedSequences | None = None
        self._copies: NodeCopies | None = None

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        """Run one trial, from where an interrupted attempt left off; yield a record an epoch."""
        import torch

        from spectrum.training.place import Parallel, Place
        from spectrum.training.state_files import StateFolder
        from spectrum.training.together import all_begin
        from spectrum.training.trial import fit_trial

        torch.set_num_threads(1)
        parallel = Parallel(rank=rank, num_workers=config.training.workers)
        place = Place.choose(config.training, parallel)
        fed = all_begin(place, f"trial {number}", lambda: self._read(config))
        data = fed.data
        own = self._shared.trials / str(number)
        stored = stored_trial(own, self._shared.study_at, writes=rank == 0)
        stored.begin(self._shared.folds, self._shared.folds_sha256)
        folds = folds_of_trial(self._shared.folds, data.table, config)
        fitting = fit_trial(
            data,
            folds,
            config,
            parallel=parallel,
            checkpoints=own / CHECKPOINTS_NAME,
            states=StateFolder(path=own / STATE_NAME, begins_again=True),
        )
        records, unstored = yield from stored.followed(fitting)
        predictions = tuple(p for record in records for p in record.predictions)
        notes = (fed.choice.note, *(note for record in records for note in record.notes))
        return TrialEnd(
            folds=records,
            metrics=further_metrics(predictions, data.table.classes),
            notes=(*notes, unstored) if unstored else notes,
        )

    def _read(self, config: TrialConfig) -> FedSequences:
        from spectrum.training.feeding import open_sequences
        from spectrum.training.node_copies import NodeCopies

        self._copies = self._copies or NodeCopies()
        shards = self._open(config)
        training = config.training
        key = canonical_json(
            [
                shards.manifest.content_hash,
                config.sequences.model_dump(mode="json"),
                [training.feeding, training.device],
            ]
        )
        if self._fed is None or key != self._key:
            # Let go of the volumes of the last trial before those of this one come.
            self._fed = None
            target = self._shared.target
            try:
                self._fed = open_sequences(shards, target, config, copies=self._copies)
            except ShardError:
                # Another trial may have evicted the set between opening and reading.
                shards = self._open(config)
                self._fed = open_sequences(shards, target, config, copies=self._copies)
            self._key = key
        return self._fed

    def _open(self, config: TrialConfig) -> ShardSet:
        """Return the set of a recipe; sets used longest ago make room for one newly made."""
        shared = self._shared
        prepared = prepare(
            shared.table,
            config.preprocessing,
            shards_root=shared.shards_root,
            how=Making(cpus_per_run=0.0, patience=Patience()),
            target=shared.target,
        )
        if shared.holder:
            mark_held(shared.shards_root, shared.holder, prepared.shards)
        if shared.disk_bytes is not None and not prepared.reused:
            prune_sets(
                shared.shards_root,
                budget_bytes=shared.disk_bytes,
                keep=[prepared.shards],
                by=shared.holder,
            )
        return ShardSet.open(prepared.shards)


def folds_of_trial(path: Path, table: SequenceTable, config: TrialConfig) -> tuple[Fold, ...]:
    """Return the study's folds over the units of one trial's data.

    A trial that stops no fold early trains on the monitor units too.

    Raises
    ------
    LeakageError
        Where a group stands on two sides.
    DataError
        Where the data lacks a unit of the folds, so that its score could not be compared.
    """
    folds = read_folds(path, table)
    if config.training.patience_epochs is None:
        folds = tuple(
            replace(fold, training=tuple(sorted((*fold.training, *fold.monitor))), monitor=())
            for fold in folds
        )
    check_folds(folds, table, config.folds)
    return folds
