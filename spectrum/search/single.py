"""One trial outside a study: one configuration, all its folds, its floor beside its score.

Its folder holds ``train.json`` (what it was begun with), ``folds.json``, the states of the
unfinished fit, and in the end ``checkpoints/`` and ``result.json``, which is written last. Not
here: searching (``study``), and the trainable of a study (``objective``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from spectrum.config import MODEL_VERSION, TrialConfig, fingerprint, pin_weights
from spectrum.data.folds import fold_manifest
from spectrum.data.seals import Seal
from spectrum.data.sequences import stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold
from spectrum.errors import SearchError
from spectrum.evaluation.audit import FloorRecord, measure_floor
from spectrum.records import FoldRecord, ScoreRecord, TrialEpochRecord
from spectrum.search.folder import STATE_NAME
from spectrum.search.images import IMAGES_NAME, seen_images
from spectrum.search.json_lines import read_json, write_json
from spectrum.search.ladders import fit_linear, fit_or_say, told_rungs
from spectrum.search.manifest import differences, listed_changes
from spectrum.search.preparation import OnStep, left_out_notes, make_set, tell_no_step
from spectrum.search.sealing import index_unsealed
from spectrum.targets import Target, read_target
from spectrum.training.course import FREE_TO_CHANGE
from spectrum.training.feeding import open_sequences
from spectrum.training.feeds import Sequences
from spectrum.training.state_files import StateFolder
from spectrum.training.trial import draw_trial_folds, fit_trial

__all__ = [
    "TrainEpoch",
    "TrainResult",
    "drop_states",
    "fit_folds",
    "open_data",
    "train_single",
]

BEGUN_NAME: Final = "train.json"
"""What a training was begun with."""

RESULT_NAME: Final = "result.json"
"""The result of a finished training."""

SECONDS_NAME: Final = "seconds.json"
"""Seconds spent so far, over all sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainEpoch:
    """How far a training is: the record of an epoch, and how many there will be at most.

    ``sequences_per_second`` and ``seconds_left`` are over this session; both are 0 while epochs of
    an interrupted session are told again.
    """

    record: TrialEpochRecord
    num_records: int
    sequences_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What one trained configuration scored, beside its floor and simpler models (``ladder``)."""

    score: ScoreRecord
    floor: FloorRecord
    folds: tuple[FoldRecord, ...]
    seconds: float
    sequences_per_second: float
    checkpoint: Path
    refused: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    ladder: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``spectrum train --json`` prints."""
        floor = self.floor.to_json()
        return {
            "score": self.score.value,
            "ci95": list(self.score.ci95),
            "p": self.score.p,
            "test": self.score.test,
            "num_units": self.score.num_units,
            "chance": self.score.chance,
            "floor": floor["floor"],
            "ladder": told_rungs(self.ladder),
            "majority": floor["majority"],
            "verdict": floor["verdict"],
            "folds": [
                {"held_out": fold.held_out, "score": fold.score, "loss": fold.loss}
                for fold in self.folds
            ],
            "seconds": round(self.seconds, 3),
            "sequences_per_second": round(self.sequences_per_second, 1),
            "checkpoint": str(self.checkpoint),
            "refused": list(self.refused),
            "notes": list(self.notes),
        }


def train_single(  # noqa: PLR0913 - what a training is asked for, one name each
    config: TrialConfig,
    roots: Sequence[Path],
    *,
    shards_root: Path,
    out: Path,
    on_epoch: Callable[[TrainEpoch], None],
    resume: bool = False,
    seal: Seal | None = None,
    on_step: OnStep = tell_no_step,
    ladder: Literal["linear", "none"] = "none",
) -> TrainResult:
    """Prepare, fold, measure the floor, train all folds, and write the result.

    Parameters
    ----------
    config : the configuration; ``training.workers`` above 1 goes through Ray Train
    roots : BIDS trees
    shards_root : folder of all shard sets
    out : folder of this result; must not exist yet, or with ``resume`` hold a training that was
        interrupted
    on_epoch : told after each epoch
    resume : whether to go on from the last epoch of an interrupted training
    seal : whose data are left out, as the study that the configuration is from left them out
    on_step : told how far what comes before the first epoch is
    ladder : simpler models that are fitted on the same folds and recipe first

    Raises
    ------
    SearchError
        Where ``out`` exists already; with ``resume`` where it does not, or was finished, or was
        begun with another configuration or other data.
    LeakageError
        Where an image stands on two sides of a fold, or of the seal.
    """
    _refuse_wrong_start(out, resume=resume)
    if Path(config.target).is_file():
        # Workers run in folders of their own.
        config = config.model_copy(update={"target": str(Path(config.target).absolute())})
    config = pin_weights(config)
    target = read_target(config.target)
    table = index_unsealed(
        roots, config.data, seal, on_run_done=partial(on_step, "Reading headers")
    )
    prepared, shards = make_set(table, config, target, shards_root=shards_root, on_step=on_step)
    if seal is not None:
        seal.check(shards.manifest.runs)
    data, feeding_notes = open_data(shards, target, config)
    folds = draw_trial_folds(data, config)
    manifest = fold_manifest(folds, data.table, config.folds)
    fingerprints = {
        "shards": data.content_hash,
        "folds": manifest["content_hash"],
        "target": fingerprint(target.model_dump(mode="json")),
    }
    _begin(out, config, fingerprints, resume)
    on_step("Measuring the floor", 0, 1)
    floor = measure_floor(shards, data.table, folds, target=target, scheme=config.folds.scheme)
    on_step("Measuring the floor", 1, 1)
    on_fit = partial(on_step, "Fitting the ladder")
    rungs, missing = (
        fit_or_say(partial(fit_linear, shards, target, config, folds, on_fit))
        if ladder == "linear"
        else (None, ())
    )
    write_json(out / "folds.json", manifest)
    write_json(out / IMAGES_NAME, seen_images(shards.manifest))
    watch = _Watch(out / SECONDS_NAME, config, len(folds), on_epoch)
    last, fold_records = fit_folds(data, shards, folds, config, out, watch.tell)
    seen = {(f.fold, f.epoch): f.num_sequences for record in last for f in record.folds}
    result = TrainResult(
        score=last[-1].score,
        floor=floor,
        folds=fold_records,
        seconds=watch.seconds,
        sequences_per_second=sum(seen.values()) / max(watch.seconds, 1e-9),
        checkpoint=out / "checkpoints",
        refused=tuple(asdict(p) for p in (*table.refused_files, *prepared.refused)),
        notes=(
            *left_out_notes(table, prepared.notes, data.table, manifest),
            *feeding_notes,
            *missing,
            *dict.fromkeys(note for record in fold_records for note in record.notes),
        ),
        ladder=rungs,
    )
    write_json(out / RESULT_NAME, {**result.to_json(), "config": config.model_dump(mode="json")})
    drop_states(out)
    return result


def drop_states(out: Path) -> None:
    """Remove what an unfinished fit of a folder left to go on from."""
    _states(out).drop()


def _states(out: Path) -> StateFolder:
    return StateFolder(path=out / STATE_NAME)


def _refuse_wrong_start(out: Path, *, resume: bool) -> None:
    if not resume and out.exists():
        is_unfinished = (out / BEGUN_NAME).is_file() and not (out / RESULT_NAME).is_file()
        what = "holds an interrupted training" if is_unfinished else "exists already"
        remedy = "Continue it with --resume, or give" if is_unfinished else "Give"
        raise SearchError(f"{out} {what}. {remedy} another folder with --out, or remove it.")
    if resume and not (out / BEGUN_NAME).is_file():
        raise SearchError(
            f"No training was begun in {out}: it holds no {BEGUN_NAME}. "
            "Leave --resume away, or give the folder of one that was begun with --out."
        )
    if resume and (out / RESULT_NAME).is_file():
        raise SearchError(
            f"The training in {out} is finished: its score is in {RESULT_NAME}. "
            "Give another folder with --out to train again."
        )


def _begin(out: Path, config: TrialConfig, data: Mapping[str, str], resume: bool) -> None:
    """Write what a training begins with, or refuse to continue one with anything else."""
    now = {
        "config": config.model_dump(mode="json"),
        "data": dict(data),
        "code": {"model": MODEL_VERSION},
    }
    if not resume:
        write_json(out / BEGUN_NAME, now)
        return
    free = {f"config.training.{name}" for name in FREE_TO_CHANGE}
    if config.model.weights_sha256 is not None:
        # The digest says which weights; the file may have moved.
        free.add("config.model.weights")
    found = [
        told for path, told in differences(read_json(out / BEGUN_NAME), now) if path not in free
    ]
    if found:
        raise SearchError(
            f"The training in {out} was begun with other inputs: "
            f"{listed_changes(found)}. "
            "Restore them to continue it, or give another folder with --out."
        )


class _Watch:
    """Measures the time spent in training over all sessions, and tells how far it is.

    Parameters
    ----------
    path : keeps the seconds of earlier sessions
    """

    def __init__(
        self,
        path: Path,
        config: TrialConfig,
        num_folds: int,
        on_epoch: Callable[[TrainEpoch], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._on_epoch, self._clock = path, on_epoch, clock
        is_by_fold = config.training.fold_order == "fold"
        self._num_records = config.training.num_epochs * (num_folds if is_by_fold else 1)
        told = read_json(path) if path.is_file() else {"seconds": 0.0, "num_records": 0}
        self._seconds_before, self._num_before = told["seconds"], told["num_records"]
        self._begin = clock()
        self._seen: set[tuple[str, int]] = set()
        self._num_sequences = 0

    @property
    def seconds(self) -> float:
        """Seconds over all sessions."""
        return self._seconds_before + self._clock() - self._begin

    def tell(self, record: TrialEpochRecord) -> None:
        """Take the record of the next epoch."""
        new = [fold for fold in record.folds if (fold.fold, fold.epoch) not in self._seen]
        self._seen |= {(fold.fold, fold.epoch) for fold in new}
        seconds = self._clock() - self._begin
        num_done = record.epoch + 1 - self._num_before
        rate = left = 0.0
        if num_done > 0:
            self._num_sequences += sum(fold.num_sequences for fold in new)
            rate = self._num_sequences / max(seconds, 1e-9)
            left = seconds / num_done * (self._num_records - record.epoch - 1)
            write_json(self._path, {"seconds": self.seconds, "num_records": record.epoch + 1})
        self._on_epoch(
            TrainEpoch(
                record=record,
                num_records=self._num_records,
                sequences_per_second=rate,
                seconds_left=left,
            )
        )


def open_data(
    shards: ShardSet, target: Target, config: TrialConfig
) -> tuple[Sequences, tuple[str, ...]]:
    """Return sequences, and how they are fed; of several workers each opens its own."""
    if config.training.workers > 1:
        return stream_sequences(shards, target, config.sequences), ()
    fed = open_sequences(shards, target, config)
    return fed.data, (fed.choice.note,)


def fit_folds(
    data: Sequences,
    shards: ShardSet,
    folds: tuple[Fold, ...],
    config: TrialConfig,
    out: Path,
    on_epoch: Callable[[TrialEpochRecord], None],
) -> tuple[list[TrialEpochRecord], tuple[FoldRecord, ...]]:
    """Fit folds alone or on workers, from where an interrupted fit in a folder left off.

    Parameters
    ----------
    data : of ``open_data``
    shards : the set that workers open
    folds : at least one
    out : gets ``checkpoints/``, and keeps the state of a fit that is interrupted
    on_epoch : told after each epoch

    Returns
    -------
    epochs, folds : all records, and those of the kept epochs
    """
    if config.training.workers > 1:
        from spectrum.training.workers import fit_trial_on_workers

        return fit_trial_on_workers(
            shards.path, config, storage=out, folds=folds, on_epoch=on_epoch
        )
    epochs: list[TrialEpochRecord] = []
    fitting = fit_trial(data, folds, config, checkpoints=out / "checkpoints", states=_states(out))
    while True:
        try:
            epochs.append(next(fitting))
        except StopIteration as stop:
            return epochs, stop.value
        on_epoch(epochs[-1])
