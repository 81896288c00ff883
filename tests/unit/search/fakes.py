"""Fakes for the search: an objective with a known answer, trackers, and a small space."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig
from spectrum.errors import LeakageError
from spectrum.records import EpochRecord, FoldRecord, Prediction, ScoreRecord, TrialEpochRecord
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.search.trials import TrialEnd

NUM_EPOCHS = 4


def small_space(**study: Any) -> SearchSpace:
    """Three parameters: a width of smoothing, a learning rate, and a head count."""
    return space_from_mapping(
        {
            "name": "small",
            "base": {
                "training": {"num_epochs": NUM_EPOCHS},
                "model": {"embed_dim": 64, "num_heads": 4},
                "optimizer": {"lr": 1e-3},
                "preprocessing": {"fwhm_mm": 6.0},
            },
            "study": {
                "startup_trials": 3,
                "pruner": {"rule": "none"},
                "rerun": {"top": 0},
                **study,
            },
            "parameters": {
                "preprocessing.fwhm_mm": {"choice": [0, 4, 6, 9]},
                "optimizer.lr": {"log_uniform": [1e-4, 1e-2]},
                "model.num_heads": {"choice": [2, 4, 8]},
            },
        }
    )


def planted_score(config: TrialConfig) -> float:
    """The answer that a search should find: wide smoothing and a rate near 1e-3."""
    rate = abs(math.log10(config.optimizer.lr) + 3)
    return 0.5 + config.preprocessing.fwhm_mm / 30 - 0.1 * rate


def score_record(value: float) -> ScoreRecord:
    return ScoreRecord(
        value=value,
        ci95=(value - 0.1, value + 0.1),
        chance=0.5,
        p=0.04,
        num_units=6,
        num_groups=3,
        test="planted",
    )


def epoch_record(epoch: int, value: float, *, finished: bool) -> TrialEpochRecord:
    fold = EpochRecord(
        fold="ds000002",
        epoch=epoch,
        training_loss=0.7 - 0.1 * epoch,
        training_accuracy=0.6,
        validation_loss=math.nan if epoch == 0 else 0.7,
        validation_accuracy=0.5,
        lr=1e-3,
        num_sequences=11,
        metrics={"gradient_norm": 1.5},
    )
    return TrialEpochRecord(
        epoch=epoch, score=score_record(value), folds=(fold,), finished=finished
    )


def trial_end(number: int, value: float) -> TrialEnd:
    prediction = Prediction(
        dataset="ds000002",
        subject="01",
        session="",
        task="rest",
        run="1",
        unit=f"unit of trial {number}",
        pair="",
        true_class="early",
        probabilities=(0.75, 0.25),
        fold="ds000002",
    )
    fold = FoldRecord(
        fold="ds000002",
        held_out="ds000002",
        epoch=NUM_EPOCHS - 1,
        num_training=7,
        num_validation=3,
        score=value,
        loss=0.6,
        checkpoint="",
        predictions=(prediction,),
    )
    return TrialEnd(folds=(fold,), metrics={"macro_f1": 0.5})


class PlantedObjective:
    """Reports the planted score after each epoch; some numbers misbehave.

    ``trouble`` maps trial numbers to: nan, error, leak, silent (no result), exit (the process
    dies once), die (the process dies always).
    """

    def __init__(
        self, trouble: Mapping[int, str] | None = None, *, seconds_per_epoch: float = 0.0
    ) -> None:
        self.trouble = dict(trouble or {})
        self.seconds_per_epoch = seconds_per_epoch
        self.num_trials_here = 0

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        self.num_trials_here += 1
        trouble = self.trouble.get(number, "")
        if trouble == "silent":
            return trial_end(number, 0.5)
        for epoch in range(NUM_EPOCHS):
            time.sleep(self.seconds_per_epoch)
            if epoch == 1:
                _misbehave(trouble, number)
            value = planted_score(config) - 0.01 * (NUM_EPOCHS - 1 - epoch)
            value = math.nan if trouble == "nan" and epoch == 2 else value
            yield epoch_record(epoch, value, finished=epoch == NUM_EPOCHS - 1)
        end = trial_end(number, planted_score(config))
        return TrialEnd(
            folds=end.folds,
            metrics={"process": os.getpid(), "trials_here": self.num_trials_here},
        )


def _misbehave(trouble: str, number: int) -> None:
    if trouble == "error":
        raise RuntimeError(f"trial {number} broke")
    if trouble == "leak":
        raise LeakageError("one subject stands on two sides")
    if trouble == "die":
        os._exit(7)


class ListTracker:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.epochs: list[tuple[int, int]] = []
        self.ends: list[tuple[int, str, tuple[str, ...]]] = []

    def start_trial(
        self, number: int, *, config: Mapping[str, Any], params: Mapping[str, Any]
    ) -> None:
        self.starts.append(number)

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        self.epochs.append((number, record.epoch))

    def finish_trial(self, number: int, line: Mapping[str, Any], *, tags: Sequence[str]) -> None:
        self.ends.append((number, str(line["state"]), tuple(tags)))

    def close(self) -> None:
        """Keep nothing open."""


class FileTracker(ListTracker):
    """Writes the end of each trial to its own file, as Aim keeps one run a trial."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def finish_trial(self, number: int, line: Mapping[str, Any], *, tags: Sequence[str]) -> None:
        (self.folder / f"{number}.json").write_text(json.dumps(dict(line)))


class BrokenTracker(ListTracker):
    """Fails at every epoch."""

    def log_epoch(self, number: int, record: TrialEpochRecord) -> None:
        raise OSError("no space left on the tracker's disk")
