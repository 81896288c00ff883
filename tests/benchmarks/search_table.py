"""Trains every point of a small space once, for ``search_quality`` to search in the table.

    python -m tests.benchmarks.search_table

Small ViTs on simulated data with a planted effect, leave one data set out. The value of a point is
one minus the validation loss in nats a sequence, the mean over folds after the last epoch: a score
of so few subjects would have too few values. Smoothing by 6 mm changes nothing at voxels of 16 mm,
so that one parameter has no influence, as in many a search. What is in the table already is not
trained again.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from spectrum.config import TrialConfig, config_from_mapping, set_paths
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.shards import ShardSet
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.launch import local_ray
from spectrum.targets import read_target
from spectrum.training.feeding import open_sequences
from spectrum.training.trial import draw_trial_folds, fit_trial

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.search_quality import TABLE

AXES = {
    "preprocessing.fwhm_mm": (0.0, 6.0),
    "optimizer.lr": (3e-4, 1e-3, 3e-3, 1e-2),
    "model.depth": (1, 2),
    "model.embed_dim": (16, 32),
}

BASE = {
    "folds": {"scheme": "leave-one-dataset-out"},
    "preprocessing": {"voxel_mm": 16.0},
    "sequences": {"num_volumes": 3, "stride": 24},
    "model": {"num_heads": 4, "attention_heads": 4, "patch_size": 4, "embed_dim": 16},
    "training": {"num_epochs": 3},
}


def value_of(config: TrialConfig, shards: ShardSet) -> float:
    """Train one configuration over all folds; return one minus its validation loss."""
    data = open_sequences(shards, read_target(config.target), config).data
    folds = draw_trial_folds(data, config)
    *_, last = fit_trial(data, folds, config)
    return 1.0 - statistics.fmean(fold.validation_loss for fold in last.folds)


def main() -> None:
    torch.set_num_threads(1)
    known = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.is_file() else []
    done = [json.loads(line)["point"] for line in known]
    with tempfile.TemporaryDirectory() as name, local_ray(num_cpus=2, object_store_gib=0.4):
        simulation = SimulationConfig(
            truth="effect", num_subjects=3, effect_percent=4.0, datasets=("ds000002", "ds000052")
        )
        table = index_bids(simulate(Path(name) / "bids", simulation))
        begin = time.monotonic()
        for values in itertools.product(*AXES.values()):
            point = dict(zip(AXES, values, strict=True))
            if point in done:
                continue
            config = config_from_mapping(TrialConfig, set_paths(BASE, point))
            prepared = prepare(
                table,
                config.preprocessing,
                shards_root=Path(name) / "shards",
                target=read_target(config.target),
            )
            score = value_of(config, ShardSet.open(prepared.shards))
            with TABLE.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"point": point, "score": round(score, 5)}) + "\n")
            sys.stdout.write(f"{time.monotonic() - begin:.0f} s {point}: {score:.5f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
