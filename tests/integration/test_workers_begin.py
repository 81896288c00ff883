"""Workers begin together or not at all: here two plain processes over gloo, with folders apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from spectrum.config import TrialConfig
from spectrum.errors import SpectrumError
from spectrum.training.place import Parallel
from spectrum.training.state_files import StateFolder
from spectrum.training.trial import fit_trial
from tests.unit.training.planted import halves, planted_data, tiny_config

CONFIG = tiny_config(training__min_steps_per_epoch=2)
WITHOUT_WEIGHTS = tiny_config(model__weights="gone.safetensors", model__amplitude_fraction=0.0)
PATIENCE = timedelta(seconds=60)
"""After which a worker that waits for another gives up with an error that is not ours."""


def end_of(
    rank: int, states: Path | None = None, num_records: int = 9, config: TrialConfig = CONFIG
) -> str:
    """Fit some epochs on two workers; return the error that ended it, with its kind."""
    data = planted_data()
    folder = None if states is None else StateFolder(path=states)
    fitting = fit_trial(data, halves(data), config, parallel=Parallel(rank, 2), states=folder)
    try:
        list(islice(fitting, num_records))
    except SpectrumError as err:
        return f"{type(err).__name__}: {err}"
    return ""


def different_epochs(rank: int, folder: Path) -> list[str]:
    own = folder / ("old" if rank else "new")
    ended = [end_of(rank, folder / "new", num_records=1)]
    distributed.barrier()
    if rank:
        shutil.copytree(folder / "new", own)
    distributed.barrier()
    return [*ended, end_of(rank, folder / "new", num_records=2), end_of(rank, own)]


def damage_met_by_one(rank: int, folder: Path) -> list[str]:
    own = folder / ("damaged" if rank else "whole")
    ended = [end_of(rank, folder / "whole", num_records=1)]
    distributed.barrier()
    if rank:
        shutil.copytree(folder / "whole", own)
        (own / "second/state.json").write_text("{}")
    return [*ended, end_of(rank, own)]


def weights_missing_on_one(rank: int, folder: Path) -> list[str]:
    return [end_of(rank, config=WITHOUT_WEIGHTS if rank else tiny_config())]


SCENES: dict[str, Callable[[int, Path], list[str]]] = {
    "epochs": different_epochs,
    "damage": damage_met_by_one,
    "weights": weights_missing_on_one,
}


def work(rank: int, folder: str, scene: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=PATIENCE,
    )
    ends = SCENES[scene](rank, Path(folder))
    (Path(folder) / f"ends-{rank}").write_text("\n".join(ends))
    distributed.destroy_process_group()


def ends_of(folder: Path, scene: str) -> list[list[str]]:
    multiprocessing.start_processes(
        work, args=(str(folder), scene), nprocs=2, start_method="spawn"
    )
    return [(folder / f"ends-{rank}").read_text().split("\n") for rank in (0, 1)]


@pytest.mark.slow
def test_workers_that_read_states_of_different_epochs_all_refuse_and_name_them(
    tmp_path: Path,
) -> None:
    first, second = ends_of(tmp_path, "epochs")
    assert first == second
    assert first[:2] == ["", ""]
    assert first[2].startswith("CheckpointError: fold first: workers read states of different")
    assert "(worker 0 epoch 2, worker 1 epoch 1)" in first[2]


@pytest.mark.slow
def test_an_error_that_one_worker_meets_before_the_first_step_ends_all(tmp_path: Path) -> None:
    first, second = ends_of(tmp_path, "damage")
    assert second[1].startswith("CheckpointError: ")
    assert "second/state.json is not what was written" in second[1]
    assert first[1].startswith("TrainingError: fold second could not begin on worker 1 of 2: ")
    assert second[1].removeprefix("CheckpointError: ") in first[1]


@pytest.mark.slow
def test_a_weights_file_that_one_worker_lacks_ends_all(tmp_path: Path) -> None:
    (first,), (second,) = ends_of(tmp_path, "weights")
    assert second.startswith("CheckpointError: model.weights is gone.safetensors")
    assert first.startswith("TrainingError: fold first could not begin on worker 1 of 2: model.w")
