"""A study folder whose answer is known, in the files that a search writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from spectrum.config import TrialConfig, set_paths
from spectrum.records import EpochRecord, Prediction, ScoreRecord, TrialEpochRecord
from spectrum.search.folder import StudyFolder

FOLDS = ("ds000002", "ds000011", "ds000017")
CLASSES = ("early", "late")
NUM_SUBJECTS = 4
NUM_EPOCHS = 5
SPREAD = (-0.2, 0.05, -0.05, 0.2)


@dataclass(frozen=True, kw_only=True)
class PlantedTrial:
    """One trial to write: its parameters, its state and the score it ends with."""

    number: int
    params: Mapping[str, Any]
    state: str
    score: float
    num_epochs: int = NUM_EPOCHS
    error: Mapping[str, str] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration, nested."""
        config = set_paths(TrialConfig().model_dump(mode="json"), self.params)
        return TrialConfig.model_validate(config).model_dump(mode="json")


def planted_trials() -> tuple[PlantedTrial, ...]:
    """Eight trials: the default, five more complete (3 is the best), one pruned, one failed."""
    rates = (1e-3, 1e-5, 3e-4, 2e-3, 1e-4, 5e-4, 3e-5, 8e-4)
    widths = (6.0, 0.0, 4.0, 4.0, 6.0, 0.0, 4.0, 6.0)
    poolings = ("mean", "cls", "attention", "mean", "mean", "cls", "attention", "mean")
    scores = (0.61, 0.5, 0.66, 0.78, 0.57, 0.7, 0.52, 0.4)
    states = ("complete",) * 6 + ("pruned", "failed")
    return tuple(
        PlantedTrial(
            number=number,
            params={
                "optimizer.lr": rate,
                "preprocessing.fwhm_mm": width,
                "model.patch_pooling": pooling,
            },
            state=state,
            score=score,
            num_epochs={"complete": NUM_EPOCHS, "pruned": 2, "failed": 1}[state],
            error={"kind": "out-of-memory", "message": "CUDA ran out of memory."}
            if state == "failed"
            else None,
        )
        for number, (rate, width, pooling, score, state) in enumerate(
            zip(rates, widths, poolings, scores, states, strict=True)
        )
    )


def score_of(value: float, *, chance: float = 0.5, num_units: int = 24) -> ScoreRecord:
    """A score with an interval and one entry a subject."""
    groups = [f"{fold}/sub-{index:02d}" for fold in FOLDS for index in range(1, NUM_SUBJECTS + 1)]
    return ScoreRecord(
        value=value,
        ci95=(max(0.0, value - 0.11), min(1.0, value + 0.09)),
        chance=chance,
        p=0.031,
        num_units=num_units,
        num_groups=len(groups),
        test="exact sign-flip over subjects",
        by_group={group: value + SPREAD[index % 4] for index, group in enumerate(groups)},
    )


def epochs_of(trial: PlantedTrial) -> tuple[TrialEpochRecord, ...]:
    """A trial that climbs from 0.5 to its score."""
    return tuple(_epoch_of(trial, epoch) for epoch in range(trial.num_epochs))


def _epoch_of(trial: PlantedTrial, epoch: int) -> TrialEpochRecord:
    reached = 0.5 + (trial.score - 0.5) * (1 - math.exp(-1.2 * (epoch + 1)))
    last = epoch == trial.num_epochs - 1
    if last and trial.state == "complete":
        reached = trial.score
    folds = tuple(
        EpochRecord(
            fold=name,
            epoch=epoch,
            training_loss=0.69 * math.exp(-0.2 * epoch) + 0.01 * index,
            training_accuracy=0.5 + 0.08 * epoch,
            validation_loss=0.7 - 0.05 * epoch * (trial.score - 0.5) + 0.02 * index,
            validation_accuracy=min(1.0, reached + 0.03 * (index - 1)),
            lr=float(trial.params["optimizer.lr"]) * (1 - epoch / (NUM_EPOCHS + 1)),
            num_sequences=40 + index,
            metrics={"gradient_norm": 1.5 / (epoch + 1)},
            measured={"sequences_per_s": 80.0 + 10.0 * index},
        )
        for index, name in enumerate(FOLDS)
    )
    finished = last and trial.state == "complete"
    return TrialEpochRecord(epoch=epoch, score=score_of(reached), folds=folds, finished=finished)


def predictions_of(trial: PlantedTrial) -> tuple[Prediction, ...]:
    """Two runs a subject; the share of right pairs is about the trial's score."""
    rng = np.random.default_rng(trial.number)
    pairs = [(fold, index) for fold in FOLDS for index in range(1, NUM_SUBJECTS + 1)]
    num_right = round(trial.score * len(pairs))
    right = rng.permutation(len(pairs)) < num_right
    return tuple(
        _prediction(fold, index, run, bool(right[place]))
        for place, (fold, index) in enumerate(pairs)
        for run in (1, 2)
    )


def _prediction(fold: str, subject: int, run: int, right: bool) -> Prediction:
    true_class = CLASSES[run - 1]
    late = 0.7 if (run == 2) == right else 0.3
    return Prediction(
        dataset=fold,
        subject=f"{subject:02d}",
        session="",
        task="learning",
        run=str(run),
        unit=f"{fold}/sub-{subject:02d}_task-learning_run-{run}",
        pair=f"{fold}/sub-{subject:02d}/learning/",
        true_class=true_class,
        probabilities=(1 - late, late),
        fold=fold,
        sequence_answers=(round(10 * (1 - late)), round(10 * late)),
    )


def line_of(trial: PlantedTrial) -> dict[str, Any]:
    """The line of ``trials.jsonl``."""
    complete = trial.state == "complete"
    return {
        "number": trial.number,
        "state": trial.state,
        "params": dict(trial.params),
        "config": trial.config,
        "score": score_of(trial.score).to_json() if trial.state != "failed" else None,
        "value": trial.score if complete else None,
        "folds": [
            {
                "fold": name,
                "held_out": name,
                "score": trial.score + 0.04 * (index - 1),
                "loss": 0.6,
            }
            for index, name in enumerate(FOLDS)
        ]
        if complete
        else [],
        "metrics": {
            "macro_f1": trial.score - 0.01,
            "confusion": [[9, 3], [2, 10]],
            "classes": list(CLASSES),
        }
        if complete
        else {},
        "num_epochs": trial.num_epochs,
        "seconds": 10.0 + trial.number,
        "started": "2026-01-05T09:00:00+00:00",
        "error": dict(trial.error) if trial.error else None,
    }


def floor_json() -> dict[str, Any]:
    """The study's ``floor.json``: a floor well above chance."""
    return {
        "chance": 0.5,
        "majority": score_of(0.5).to_json(),
        "dataset": score_of(0.51).to_json(),
        "floor": score_of(0.64).to_json(),
        "predictors": ["bg_mean", "fg_mean", "fd_mean"],
        "verdict": "Acquisition numbers alone score 0.640; a model must beat that.",
    }


def write_study(
    folder: Path, *, trials: tuple[PlantedTrial, ...] | None = None, floor: bool = True
) -> Path:
    """Write a study folder and return it."""
    chosen = planted_trials() if trials is None else trials
    folder.mkdir(parents=True)
    StudyFolder(folder).write_manifest(_manifest(folder.name))
    if floor:
        _write(folder / "floor.json", floor_json())
    _write(folder / "folds.json", {"content_hash": "ab" * 32, "folds": [*map(_fold, FOLDS)]})
    if any(trial.number == 0 and trial.state == "complete" for trial in chosen):
        _write(folder / "default.json", {"score": score_of(0.61).to_json(), "folds": []})
    with (folder / "trials.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line_of(trial)) + "\n" for trial in chosen)
    for trial in chosen:
        write_trial(folder, trial)
    return folder


def draw_slices(folder: Path) -> None:
    """Draw two pictures where a report leaves brain slices: a ball, brighter to one side."""
    place = folder / "report" / "figures"
    place.mkdir(parents=True)
    across = np.linspace(-1, 1, 96)
    ball = across[:, None] ** 2 + across[None, :] ** 2 < 0.8
    for index, side in enumerate((across, across[::-1])):
        imsave(place / f"brain-{index}.png", ball * (1.5 + side), cmap="gray")


def write_trial(folder: Path, trial: PlantedTrial) -> None:
    """Write the records of a trial, and its predictions where it is complete."""
    place = folder / "trials" / str(trial.number)
    place.mkdir(parents=True)
    with (place / "records.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_record_json(record)) + "\n" for record in epochs_of(trial))
    if trial.state == "complete":
        _write(place / "predictions.json", [asdict(one) for one in predictions_of(trial)])


def _record_json(record: TrialEpochRecord) -> dict[str, Any]:
    return {
        "epoch": record.epoch,
        "score": record.score.to_json(),
        "folds": [{**fold.to_json(), "measured": fold.measured} for fold in record.folds],
        "finished": record.finished,
    }


def _manifest(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "space": {
            "name": name,
            "description": "A planted study.",
            "base": {"target": "early_late"},
            "study": {"num_trials": 8, "seed": 0, "sampler": "tpe"},
            "parameters": {
                "optimizer.lr": {"log_uniform": [1e-5, 1e-2]},
                "preprocessing.fwhm_mm": {"choice": [0.0, 4.0, 6.0]},
                "model.patch_pooling": {"choice": ["mean", "cls", "attention"]},
            },
        },
        "versions": {"spectrum": "0.1.0", "python": "3.11.7", "torch": "2.15.0"},
        "git_revision": "0123456789abcdef",
        "data": {"fingerprints": {"ds000002": "cd" * 32}},
        "refused": [
            {
                "code": "too-few-volumes",
                "path": "ds000002/sub-09_task-learning_run-1_bold.nii.gz",
                "message": "The run has 3 volumes; a sequence needs 8.",
            }
        ],
        "seed": 0,
        "created": "2026-01-05T08:59:00+00:00",
    }


def _fold(held_out: str) -> dict[str, Any]:
    units = {name: [f"{name}/sub-01_task-learning_run-{run}" for run in (1, 2)] for name in FOLDS}
    training = [unit for name in FOLDS if name != held_out for unit in units[name]]
    return {
        "name": held_out,
        "held_out": held_out,
        "training": training,
        "validation": units[held_out],
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
