"""The study of the benchmark ``study`` as a plain Optuna loop: one process, one trial at a time.

    python -m tests.benchmarks.optuna_peer FOLDER ROOT,ROOT,... EPOCHS TRIALS THREADS

It has our data code, model and training loop, keeps no records, and prints one JSON object:
seconds to the sets and of all trials, the best score and its interval.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import torch

from spectrum.config import TrialConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import prepare
from spectrum.data.runs import RunTable
from spectrum.data.shards import ShardSet
from spectrum.launch import local_ray
from spectrum.records import TrialEpochRecord
from spectrum.targets import read_target
from spectrum.training.feeding import open_sequences
from spectrum.training.trial import draw_trial_folds, fit_trial

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.study_setting import Setting, space_of


def main() -> None:
    folder, roots, epochs, trials, threads = sys.argv[1:]
    setting = Setting(tuple(Path(root) for root in roots.split(",")), int(epochs))
    told = search(Path(folder), setting, num_trials=int(trials), num_threads=int(threads))
    sys.stdout.write(json.dumps(told) + "\n")


def search(folder: Path, setting: Setting, *, num_trials: int, num_threads: int) -> dict[str, Any]:
    begin = time.perf_counter()
    space = space_of(setting, is_pruned=False)
    table = index_bids(setting.roots, space.default_config.data)
    with local_ray(num_cpus=2, object_store_gib=0.4):
        for fwhm_mm in space.parameters["preprocessing.fwhm_mm"].values or ():
            recipe = space.default_config.preprocessing.model_copy(update={"fwhm_mm": fwhm_mm})
            target = read_target(space.default_config.target)
            prepare(table, recipe, shards_root=folder, target=target)
        ready = time.perf_counter()
        torch.set_num_threads(num_threads)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5, multivariate=True),
        )
        study.enqueue_trial(
            {path: space.parameters[path].encode(v) for path, v in space.default_point.items()}
        )

        def objective(trial: optuna.Trial) -> float:
            record = score_of(space.config(space.point(trial)), table, folder)
            trial.set_user_attr("ci95", record.score.ci95)
            return record.score.value

        study.optimize(objective, n_trials=num_trials)
    return {
        "prepare_s": ready - begin,
        "trials_s": time.perf_counter() - ready,
        "score": study.best_value,
        "ci95": study.best_trial.user_attrs["ci95"],
    }


def score_of(config: TrialConfig, table: RunTable, folder: Path) -> TrialEpochRecord:
    target = read_target(config.target)
    prepared = prepare(table, config.preprocessing, shards_root=folder, target=target)
    data = open_sequences(ShardSet.open(prepared.shards), target, config).data
    *_, last = fit_trial(data, draw_trial_folds(data, config), config)
    return last


if __name__ == "__main__":
    main()
