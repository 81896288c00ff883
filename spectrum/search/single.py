"""One trial outside a study: one configuration, all its folds, its floor beside its score.

Not here: searching (``study``), and the trainable of a study (``objective``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig, pin_weights
from spectrum.data.bids import index_bids
from spectrum.data.folds import fold_manifest
from spectrum.data.pipeline import prepare
from spectrum.data.sequences import stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold
from spectrum.errors import SearchError
from spectrum.evaluation.audit import FloorRecord, measure_floor
from spectrum.records import FoldRecord, ScoreRecord, TrialEpochRecord
from spectrum.search.preparation import left_out_notes
from spectrum.targets import Target, read_target
from spectrum.training.feeding import open_sequences
from spectrum.training.feeds import Sequences
from spectrum.training.trial import draw_trial_folds, fit_trial

__all__ = ["TrainResult", "train_single"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What one trained configuration scored, beside its floor."""

    score: ScoreRecord
    floor: FloorRecord
    folds: tuple[FoldRecord, ...]
    seconds: float
    sequences_per_second: float
    checkpoint: Path
    refused: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()

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


def train_single(
    config: TrialConfig,
    roots: Sequence[Path],
    *,
    shards_root: Path,
    out: Path,
    on_epoch: Callable[[TrialEpochRecord], None],
    clock: Callable[[], float] = time.monotonic,
) -> TrainResult:
    """Prepare, fold, measure the floor, train all folds, and write the result.

    Parameters
    ----------
    config : the configuration; ``training.workers`` above 1 goes through Ray Train
    roots : BIDS trees
    shards_root : folder of all shard sets
    out : folder of this result; must not exist yet
    on_epoch : told after each epoch of all folds
    clock : seconds, for the time spent in training

    Raises
    ------
    SearchError
        Where ``out`` exists already.
    """
    if out.exists():
        raise SearchError(f"{out} exists already. Give another folder with --out, or remove it.")
    if Path(config.target).is_file():
        # Workers run in folders of their own.
        config = config.model_copy(update={"target": str(Path(config.target).absolute())})
    config = pin_weights(config)
    target = read_target(config.target)
    table = index_bids(roots, config.data)
    prepared = prepare(table, config.preprocessing, shards_root=shards_root, target=target)
    shards = ShardSet.open(prepared.shards)
    data, feeding_notes = _open(shards, target, config)
    folds = draw_trial_folds(data, config)
    floor = measure_floor(shards, data.table, folds, target=target, scheme=config.folds.scheme)
    out.mkdir(parents=True)
    manifest = fold_manifest(folds, data.table, config.folds)
    _write_json(out / "folds.json", manifest)
    begin = clock()
    last, fold_records = _fit(data, shards, folds, config, out, on_epoch)
    seconds = clock() - begin
    seen = {(f.fold, f.epoch): f.num_sequences for record in last for f in record.folds}
    result = TrainResult(
        score=last[-1].score,
        floor=floor,
        folds=fold_records,
        seconds=seconds,
        sequences_per_second=sum(seen.values()) / max(seconds, 1e-9),
        checkpoint=out / "checkpoints",
        refused=tuple(asdict(p) for p in (*table.refused_files, *prepared.refused)),
        notes=(
            *left_out_notes(table, prepared.notes, data.table, manifest),
            *feeding_notes,
        ),
    )
    _write_json(
        out / "result.json", {**result.to_json(), "config": config.model_dump(mode="json")}
    )
    return result


def _open(
    shards: ShardSet, target: Target, config: TrialConfig
) -> tuple[Sequences, tuple[str, ...]]:
    """Return sequences, and how they are fed; of several workers each opens its own."""
    if config.training.workers > 1:
        return stream_sequences(shards, target, config.sequences), ()
    fed = open_sequences(shards, target, config)
    return fed.data, (fed.choice.note,)


def _fit(
    data: Sequences,
    shards: ShardSet,
    folds: tuple[Fold, ...],
    config: TrialConfig,
    out: Path,
    on_epoch: Callable[[TrialEpochRecord], None],
) -> tuple[list[TrialEpochRecord], tuple[FoldRecord, ...]]:
    if config.training.workers > 1:
        from spectrum.training.workers import fit_trial_on_workers

        return fit_trial_on_workers(
            shards.path, config, storage=out, folds=folds, on_epoch=on_epoch
        )
    epochs: list[TrialEpochRecord] = []
    fitting = fit_trial(data, folds, config, checkpoints=out / "checkpoints")
    while True:
        try:
            epochs.append(next(fitting))
        except StopIteration as stop:
            return epochs, stop.value
        on_epoch(epochs[-1])


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
