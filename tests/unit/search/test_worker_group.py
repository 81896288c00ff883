"""Trials of several workers: kept processes, early stops, kills, hangs, errors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import ray

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.space import space_from_mapping
from spectrum.search.trials import TrialEnd
from spectrum.search.tune_adapters import run_trials
from spectrum.search.worker_group import (
    MAX_TRIALS,
    SPARE_BYTES,
    GroupObjective,
    TrialFailedError,
    is_worn,
)
from tests.unit.search.fakes import (
    NUM_EPOCHS,
    ListTracker,
    epoch_record,
    trial_end,
)
from tests.unit.search.test_driver import lines_of

TWO = TrialConfig.model_validate({"training": {"workers": 2, "max_failures": 1}})


class MeetingObjective:
    """Each epoch all workers sum their ranks; the process and the sum are told.

    ``trouble`` maps trial numbers to what befalls the last worker in the second epoch, the first
    time that it comes there: die, stop (SIGSTOP), stand (still), error; or always: die always.
    """

    def __init__(self, folder: Path, trouble: dict[int, str] | None = None) -> None:
        self.folder, self.trouble = folder, trouble or {}

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        import torch

        for epoch in range(NUM_EPOCHS):
            if epoch == 1 and rank == config.training.workers - 1:
                self._misbehave(number)
            told = torch.tensor([float(rank), os.getpid()])
            if config.training.workers > 1:
                torch.distributed.all_reduce(told)
            yield epoch_record(epoch, 0.5, finished=epoch == NUM_EPOCHS - 1)
        end = trial_end(number, 0.5)
        metrics = {"sum": told.tolist(), "process": os.getpid()}
        return TrialEnd(folds=end.folds, metrics=metrics)

    def _misbehave(self, number: int) -> None:
        trouble, mark = self.trouble.get(number, ""), self.folder / f"{number}"
        if not trouble or (mark.exists() and trouble != "die always"):
            return
        mark.touch()
        if trouble == "error":
            raise RuntimeError("one worker broke")
        if trouble == "stand":
            time.sleep(600)
        os.kill(os.getpid(), signal.SIGSTOP if trouble == "stop" else signal.SIGKILL)


def run(group: GroupObjective, number: int) -> tuple[list[int], TrialEnd]:
    epochs, running = [], group(number, TWO)
    while True:
        try:
            epochs.append(next(running).epoch)
        except StopIteration as stop:
            return epochs, stop.value


@pytest.fixture
def free_cpus(ray_session: None) -> Iterator[None]:
    yield
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU") != 2.0:
        assert time.monotonic() < until, "a group left CPUs that are not free"
        time.sleep(0.2)


ALL_EPOCHS = list(range(NUM_EPOCHS))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("free_cpus")
def test_a_group_takes_one_trial_after_the_other_and_survives_early_stops_and_losses(
    tmp_path: Path,
) -> None:
    trouble = {4: "die", 5: "stop", 6: "error"}
    group = GroupObjective(partial(MeetingObjective, tmp_path, trouble), patience_s=4.0)
    epochs, end = run(group, 0)
    assert epochs == ALL_EPOCHS
    assert end.metrics["sum"][0] == 1.0
    stopped = group(1, TWO)
    assert [record.epoch for record in islice(stopped, 2)] == [0, 1]
    stopped.close()
    # The same processes go on after a stop between two epochs.
    epochs, later = run(group, 2)
    assert epochs == ALL_EPOCHS
    assert later.metrics == end.metrics
    # A kill and a hang cost the group, not the trial, whose epochs are told once.
    for number, cause in {4: "a worker died", 5: "did not answer for 4 s"}.items():
        epochs, after = run(group, number)
        assert epochs == ALL_EPOCHS
        assert cause in after.notes[-1]
        assert after.metrics["sum"] != later.metrics["sum"]
        later = after
    with pytest.raises(TrialFailedError, match="one worker broke") as caught:
        run(group, 6)
    assert caught.value.failure.kind == "RuntimeError"
    assert run(group, 7)[0] == ALL_EPOCHS
    group.close()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("free_cpus")
def test_a_worker_that_stands_still_in_an_epoch_costs_the_group_and_not_the_trial(
    tmp_path: Path,
) -> None:
    group = GroupObjective(partial(MeetingObjective, tmp_path, {0: "stand"}), epoch_s=3.0)
    epochs, end = run(group, 0)
    assert epochs == ALL_EPOCHS
    assert "a worker died" in end.notes[-1]
    assert run(group, 1)[0] == ALL_EPOCHS
    group.close()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("free_cpus")
def test_a_trial_whose_worker_always_dies_fails_with_its_cause(tmp_path: Path) -> None:
    group = GroupObjective(partial(MeetingObjective, tmp_path, {0: "die always"}))
    with pytest.raises(TrialFailedError, match=r"lost 2 times.*training\.max_failures") as caught:
        run(group, 0)
    assert caught.value.failure.kind == "WorkerLost"
    group.close()


@pytest.mark.parametrize(
    ("first", "now", "num_trials", "expected"),
    [
        (2**29, 2**29 + SPARE_BYTES, 3, False),
        (2**29, 2**29 + SPARE_BYTES + 1, 3, True),
        (2**33, 2**33 + 2**32, 3, False),
        (2**33, 2**33 + 2**32 + 1, 3, True),
        (2**29, 2**29, MAX_TRIALS - 1, False),
        (2**29, 2**29, MAX_TRIALS, True),
    ],
)
def test_a_group_is_replaced_when_it_has_grown_or_run_long_enough(
    first: int, now: int, num_trials: int, expected: bool
) -> None:
    assert is_worn(first, now, num_trials) is expected


class FallingObjective(MeetingObjective):
    """Each trial scores less than the one before, and stays below what halving lets pass."""

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        for epoch in range(NUM_EPOCHS):
            yield epoch_record(epoch, 0.9 - 0.01 * number, finished=epoch == NUM_EPOCHS - 1)
        return trial_end(number, 0.9)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("free_cpus")
def test_all_resources_are_free_after_ten_trials_of_two_workers_were_stopped(
    tmp_path: Path,
) -> None:
    folder = StudyFolder(tmp_path / "s")
    pruner = {"rule": "halving", "min_epochs": 1, "reduction": 2, "min_rivals": 1}
    space = space_from_mapping(
        {
            "name": "two",
            "base": {"training": {"num_epochs": NUM_EPOCHS, "workers": 2}},
            "study": {"pruner": pruner, "rerun": {"top": 0}},
            "parameters": {"model.depth": {"int": [1, 6]}},
        }
    )
    with folder.locked():
        driver = StudyDriver(folder, space, ListTracker(), num_trials=12)
        run_trials(driver, partial(FallingObjective, tmp_path), folder=folder, workers=(2,))
    states = [line["state"] for line in lines_of(tmp_path / "s")]
    assert states.count("pruned") >= 10
    assert len(states) == 12
