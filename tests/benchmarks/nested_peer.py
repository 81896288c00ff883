"""The study of the benchmark ``study`` in the documented way: Ray Tune, a TorchTrainer a trial.

    python -m tests.benchmarks.nested_peer FOLDER ROOT,ROOT,... EPOCHS TRIALS

As Ray's guide to hyperparameter optimisation nests them, with one worker a trial, two trials at a
time, OptunaSearch, and the recipe in the train function by nibabel and nilearn, so that each trial
preprocesses for itself. Which runs have which class, the model, and the score are ours. Prints one
JSON object: seconds of the search, the best score and its interval.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from spectrum.config import TrialConfig
from spectrum.data.bids import index_bids
from spectrum.data.expected import expected_runs
from spectrum.data.inputs import select_inputs
from spectrum.data.pieces import RunJob
from spectrum.data.sequences import build_table
from spectrum.data.set_sizes import SizeEstimate
from spectrum.data.units import Fold, SequenceData
from spectrum.launch import local_ray
from spectrum.model.slice_vit import build_model
from spectrum.records import Prediction
from spectrum.scores import score_predictions
from spectrum.targets import read_target
from spectrum.training.batches import draw_epoch
from spectrum.training.schedule import build_optimizer, lr_at, set_lr
from spectrum.training.trial import draw_trial_folds

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.study_setting import Setting, space_of

EXTENT_MM = (180, 216, 180)
HIGH_PASS_HZ = 0.008


def main() -> None:
    folder, roots, epochs, trials = sys.argv[1:]
    setting = Setting(tuple(Path(root) for root in roots.split(",")), int(epochs))
    # Ray sends functions of an imported module by name, but those of __main__ with all they touch.
    from tests.benchmarks.nested_peer import search as search_by_name

    # The trainer's cleaner asks the State API, which needs the dashboard.
    with local_ray(num_cpus=2, object_store_gib=0.4, dashboard=True):
        told = search_by_name(Path(folder), setting, int(trials))
    sys.stdout.write(json.dumps(told) + "\n")


def search(folder: Path, setting: Setting, num_trials: int) -> dict[str, Any]:
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    logging.getLogger("ray").setLevel(logging.ERROR)
    function = tune.with_parameters(tune_function, setting=setting, storage=str(folder / "train"))
    begin = time.perf_counter()
    results = tune.Tuner(
        # The trial itself only drives; both CPUs are for workers.
        tune.with_resources(function, {"cpu": 0, "node:__internal_head__": 0.001}),
        param_space={
            "preprocessing.fwhm_mm": tune.choice([0.0, 6.0, 10.0]),
            "model.embed_dim": tune.choice([16, 32]),
            "model.depth": tune.choice([1, 2]),
            "model.temporal_depth": tune.choice([0, 1]),
            "optimizer.lr": tune.loguniform(5e-4, 1e-2),
        },
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=num_trials,
            max_concurrent_trials=2,
            search_alg=OptunaSearch(seed=0),
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder), verbose=0),
    ).fit()
    assert not results.errors, results.errors
    best = results.get_best_result().metrics or {}
    seconds = time.perf_counter() - begin
    return {"trials_s": seconds, "score": best["score"], "ci95": [best["low"], best["high"]]}


def tune_function(config: dict[str, Any], setting: Setting, storage: str) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        train_function,
        train_loop_config={"point": config, "setting": setting},
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=f"train-{ray.tune.get_context().get_trial_id()}",
            storage_path=storage,
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def train_function(given: dict[str, Any]) -> None:
    import ray.train

    torch.set_num_threads(1)
    space = space_of(given["setting"], is_pruned=False)
    config = space.config(space.point_from(given["point"]))
    data = preprocessed(given["setting"], config)
    predictions = [
        p for fold in draw_trial_folds(data, config) for p in fitted(data, fold, config)
    ]
    score = score_predictions(predictions, classes=data.table.classes, paired=data.paired)
    low, high = score.ci95
    ray.train.report({"score": score.value, "low": low, "high": high})


def preprocessed(setting: Setting, config: TrialConfig) -> SequenceData:
    """Read and preprocess every run, as a train function would."""
    target = read_target(config.target)
    index = index_bids(setting.roots, config.data)
    shape_of = {str(run.key): run.shape for run in index.runs if run.shape is not None}
    jobs = select_inputs(index, config.preprocessing, target, Path()).jobs
    runs = expected_runs(SizeEstimate(jobs, shape_of), config.preprocessing)
    assert [str(run.key) for run in runs] == [job.name for job in jobs]
    table = build_table(runs, target, config.sequences)
    slices = [_slices(job, config) for job in jobs]
    lengths = np.array([len(run_VSHW) for run_VSHW in slices])
    return SequenceData(
        slices_VSHW=np.concatenate(slices),
        first_volume_of_run=np.cumsum(lengths) - lengths,
        table=table,
        paired=target.paired,
        content_hash="",
    )


def _slices(job: RunJob, config: TrialConfig) -> NDArray[np.float16]:
    import nibabel
    from nilearn.image import clean_img, resample_img, smooth_img

    voxel_mm = config.preprocessing.voxel_mm
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = [-side / 2 for side in EXTENT_MM]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.load(job.path)
        image = smooth_img(image, config.preprocessing.fwhm_mm or None)
        image = resample_img(
            image,
            target_affine=affine,
            target_shape=tuple(round(side / voxel_mm) for side in EXTENT_MM),
        )
        image = clean_img(
            image,
            standardize="zscore_sample",
            t_r=job.tr_s,
            high_pass=HIGH_PASS_HZ,
            filter="cosine",
        )
    values: NDArray[np.float16] = image.get_fdata(dtype=np.float32).T.astype(np.float16)
    return values


def fitted(data: SequenceData, fold: Fold, config: TrialConfig) -> list[Prediction]:
    """Fit one fold in plain PyTorch, with a pass over the held-out side after each epoch."""
    torch.manual_seed(0)
    table, training = data.table, config.training
    num_slices, height, width = data.volume_shape
    model = build_model(
        config.model,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=table.num_volumes,
        num_classes=len(table.classes),
    )
    optimizer = build_optimizer(model, config.optimizer)
    classes = torch.from_numpy(table.class_of_sequence)
    own = torch.from_numpy(table.sequences_of(fold.training))
    said = torch.empty(0)
    for epoch in range(training.num_epochs):
        order = draw_epoch(
            own,
            batch_size=training.batch_size,
            min_steps=training.min_steps_per_epoch,
            generator=torch.Generator().manual_seed(epoch),
        )
        batches = order.split(training.batch_size)
        model.train()
        for index, batch in enumerate(batches):
            num_steps = training.num_epochs * len(batches)
            lr = lr_at(epoch * len(batches) + index, num_steps=num_steps, config=config.optimizer)
            set_lr(optimizer, lr)
            optimizer.zero_grad()
            logits = model(_noisy(_read(data, batch), training.noise_std))
            functional.cross_entropy(logits, classes[batch], label_smoothing=0.1).backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
            optimizer.step()
        said = _said(model, data, fold)
    return _predictions(data, fold, said)


def _read(data: SequenceData, sequences: Tensor) -> Tensor:
    first = torch.from_numpy(data.first_volume_of_sequence)[sequences]
    rows = first[:, None] + torch.from_numpy(data.table.offsets)
    return torch.from_numpy(data.slices_VSHW)[rows].float()


def _noisy(slices: Tensor, std: float) -> Tensor:
    return slices + std * torch.randn_like(slices) * (slices != 0)


def _said(model: nn.Module, data: SequenceData, fold: Fold) -> Tensor:
    held_out = torch.from_numpy(data.table.sequences_of(fold.validation))
    model.eval()
    with torch.inference_mode():
        parts = [model(_read(data, part)).softmax(1) for part in held_out.split(32)]
    return torch.cat(parts)


def _predictions(data: SequenceData, fold: Fold, said: Tensor) -> list[Prediction]:
    table = data.table
    unit_of_row = torch.from_numpy(table.unit_of_sequence[table.sequences_of(fold.validation)])
    return [
        table.units[unit].predicted(
            said[unit_of_row == unit].mean(0).tolist(), classes=table.classes, fold=fold.name
        )
        for unit in fold.validation
    ]


if __name__ == "__main__":
    main()
