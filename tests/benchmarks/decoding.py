"""Decoding of real events: the default slice ViT beside a nearest centroid, on the same folds.

    python tests/benchmarks/decoding.py --json

Leave one run out over the 8 runs of Haxby et al. (2001), subject 1, one slice: 64 events of 8
categories. The model is the shipped default; the grid is the scanner's, unsmoothed, as is usual
for patterns within one subject. The centroid sees the mean of the same volumes of each event,
correlated with the mean of each category in the training runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from spectrum.config import TrialConfig, config_from_mapping
from spectrum.data.folds import draw_folds
from spectrum.data.sequences import read_sequences
from spectrum.data.shards import ShardSet
from spectrum.data.units import Fold, SequenceData
from spectrum.launch import available_cpus, local_ray
from spectrum.records import Prediction, ScoreRecord
from spectrum.scores import score_predictions
from spectrum.search.single import train_single
from spectrum.targets import read_target

TARGET = Path(__file__).parents[1] / "integration" / "categories.yaml"
REALDATA = Path(os.environ.get("SPECTRUM_REALDATA", "../shared/realdata"))


def config_of(seed: int) -> TrialConfig:
    settings = {
        "target": str(TARGET),
        "folds": {"scheme": "leave-one-run-out"},
        "preprocessing": {"grid": "native", "fwhm_mm": 0.0},
        "seed": seed,
    }
    return config_from_mapping(TrialConfig, settings)


def nearest_centroid(data: SequenceData, folds: tuple[Fold, ...]) -> ScoreRecord:
    """Score the category whose training mean correlates best with the event's mean volume."""
    table = data.table
    means = np.stack([_event_mean(data, index) for index in range(len(table.units))])
    classes = np.array([unit.class_index for unit in table.units])
    predictions = []
    for fold in folds:
        training = np.array(fold.training)
        centroids = np.stack(
            [means[training][classes[training] == k].mean(axis=0) for k in fold.classes]
        )
        predictions += [_predict(data, fold, index, means, centroids) for index in fold.validation]
    return score_predictions(predictions, classes=table.classes, paired=False)


def _event_mean(data: SequenceData, unit_index: int) -> np.ndarray:
    starts = data.first_volume_of_sequence[data.table.unit_of_sequence == unit_index]
    volumes = np.unique(np.add.outer(starts, data.table.offsets))
    return data.slices_VSHW[volumes].astype(np.float64).mean(axis=0).ravel()


def _predict(
    data: SequenceData, fold: Fold, index: int, means: np.ndarray, centroids: np.ndarray
) -> Prediction:
    unit = data.table.units[index]
    correlations = [np.corrcoef(means[index], centroid)[0, 1] for centroid in centroids]
    probabilities = np.zeros(len(data.table.classes))
    probabilities[fold.classes[int(np.argmax(correlations))]] = 1.0
    return unit.predicted(probabilities.tolist(), classes=data.table.classes, fold=fold.name)


def compare(seed: int) -> dict[str, Any]:
    config = config_of(seed)
    with tempfile.TemporaryDirectory() as folder:
        result = train_single(
            config,
            [REALDATA / "bold" / "haxby2001-1slice"],
            shards_root=Path(folder) / "shards",
            out=Path(folder) / "trained",
            on_epoch=lambda record: None,
        )
        shards = ShardSet.open(next((Path(folder) / "shards").glob("*/manifest.json")).parent)
        data = read_sequences(shards, read_target(config.target), config.sequences)
    centroid = nearest_centroid(data, draw_folds(data.table, config.folds, paired=False))
    floor = result.floor.to_json()["floor"]
    return {
        "benchmark": "decoding",
        "case": f"Haxby 2001 subject 1, one slice, leave one run out, seed {seed}",
        "ours": result.score.value,
        "ours_ci95": result.score.ci95,
        "ours_p": result.score.p,
        "peer": centroid.value,
        "peer_ci95": centroid.ci95,
        "peer_p": centroid.p,
        "ratio": result.score.value / centroid.value,
        "chance": result.score.chance,
        "floor": floor["score"],
        "test": result.score.test,
        "num_units": result.score.num_units,
        "goal": "ours above chance at p < 0.05",
        "met": result.score.p < 0.05,
        "seconds": round(result.seconds, 1),
        "machine": f"{available_cpus()} CPUs, {platform.machine()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    with local_ray():
        for seed in arguments.seeds:
            told = compare(seed)
            text = f"{told['case']}: {told['ours']:.3f} (p = {told['ours_p']:.4f}), "
            text += f"nearest centroid {told['peer']:.3f} (p = {told['peer_p']:.4f})"
            sys.stdout.write((json.dumps(told) if arguments.json else text) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
