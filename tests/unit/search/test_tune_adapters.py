"""Ray Tune around the driver: every state of a trial, processes kept, lost workers, signals."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spectrum.config import TrialConfig
from spectrum.errors import LeakageError, SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.trials import ObjectiveMaker, TrialEnd
from spectrum.search.tune_adapters import run_trials
from tests.unit.search.fakes import (
    NUM_EPOCHS,
    ListTracker,
    PlantedObjective,
    epoch_record,
    small_space,
    trial_end,
)
from tests.unit.search.test_driver import lines_of, params_of, states_in_journal

on_ray = pytest.mark.usefixtures("ray_session")


def search(
    path: Path,
    num_trials: int,
    objective: ObjectiveMaker,
    *,
    max_concurrent: int | None = None,
    tracker: ListTracker | None = None,
    **study: object,
) -> tuple[StudyDriver, ListTracker]:
    folder, space, tracker = StudyFolder(path), small_space(**study), tracker or ListTracker()
    with folder.locked():
        driver = StudyDriver(folder, space, tracker, num_trials=num_trials)
        run_trials(
            driver,
            objective,
            folder=folder,
            max_concurrent=max_concurrent,
            settings=space.study,
        )
    return driver, tracker


class TerminatingTracker(ListTracker):
    """Sends SIGTERM to this process once some trials have ended."""

    def __init__(self, *, num_ends: int) -> None:
        super().__init__()
        self.num_ends = num_ends

    def finish_trial(self, number: int, line: Mapping[str, Any], *, tags: Sequence[str]) -> None:
        super().finish_trial(number, line, tags=tags)
        if len(self.ends) == self.num_ends:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.ray
@on_ray
def test_all_ends_of_a_trial_reach_lines_journal_and_tracker_alike(tmp_path: Path) -> None:
    """That of one whose worker dies too: it is begun once more, and the study goes on."""
    objective = partial(PlantedObjective, {0: "die", 1: "nan", 3: "error", 5: "silent"})
    pruner = {"rule": "halving", "min_epochs": 1, "reduction": 2, "min_rivals": 2}
    _, tracker = search(tmp_path / "s", 14, objective, pruner=pruner)
    lines = {line["number"]: line for line in lines_of(tmp_path / "s")}
    assert sorted(lines) == list(range(14))
    kinds = {n: line["error"]["kind"] for n, line in lines.items() if line["error"]}
    wanted = {0: "WorkerLost", 1: "NotFinite", 3: "RuntimeError", 5: "NoResult"}
    assert wanted.items() >= kinds.items()
    assert (kinds[0], kinds[5]) == ("WorkerLost", "NoResult")
    assert {n: tracker.starts.count(n) for n in lines} == {**dict.fromkeys(lines, 1), 0: 2}
    assert {line["state"] for line in lines.values()} == {"complete", "pruned", "failed"}
    told = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    states = states_in_journal(tmp_path / "s/optuna.journal")
    assert {n: told[state] for n, state in states.items()} == {
        n: line["state"] for n, line in lines.items()
    }
    assert sorted((n, state) for n, state, _ in tracker.ends) == sorted(
        (n, line["state"]) for n, line in lines.items()
    )
    for number, line in lines.items():
        once = list(range(line["num_epochs"]))
        seen = [epoch for n, epoch in tracker.epochs if n == number]
        assert seen == once * tracker.starts.count(number)
        if line["state"] == "complete":
            assert line["num_epochs"] == NUM_EPOCHS
            assert (tmp_path / f"s/trials/{number}/predictions.json").is_file()


@pytest.mark.ray
@on_ray
def test_with_one_trial_at_a_time_tune_proposes_what_the_driver_alone_would(
    tmp_path: Path,
) -> None:
    from tests.unit.search.drive import drive

    search(tmp_path / "tune", 5, partial(PlantedObjective), max_concurrent=1)
    drive(tmp_path / "alone", num_trials=5, tracker=ListTracker())
    assert params_of(tmp_path / "tune") == params_of(tmp_path / "alone")
    processes = {line["metrics"]["process"] for line in lines_of(tmp_path / "tune")}
    assert len(processes) == 1
    assert os.getpid() not in processes


@pytest.mark.ray
@on_ray
def test_leakage_in_a_worker_stops_the_study(tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match="two sides"):
        search(tmp_path / "s", 30, partial(PlantedObjective, {1: "leak"}), max_concurrent=1)
    assert len(lines_of(tmp_path / "s")) == 2


class SlowBest(PlantedObjective):
    """Trial 1 outlasts trial 3 and scores highest; all others score the same."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.other = path / "trials/3/predictions.json"

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        end = time.monotonic() + 60.0
        while number == 1 and not self.other.exists() and time.monotonic() < end:
            time.sleep(0.05)
        yield epoch_record(0, 0.9 if number == 1 else 0.5, finished=True)
        return trial_end(number, 0.5)


@pytest.mark.ray
@on_ray
def test_patience_that_a_running_trial_renews_does_not_end_the_study(tmp_path: Path) -> None:
    objective = partial(SlowBest, tmp_path / "s")
    driver, _ = search(tmp_path / "s", 6, objective, max_concurrent=2, patience_trials=2)
    order = [line["number"] for line in lines_of(tmp_path / "s")]
    assert sorted(order) == list(range(6))
    assert order.index(1) == 3
    assert driver.num_left == 0


@pytest.mark.ray
@pytest.mark.slow
@on_ray
def test_sigterm_leaves_a_folder_that_resumes_to_the_asked_number(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"stopped by SIGTERM .* --resume") as caught:
        search(
            tmp_path / "s", 60, partial(PlantedObjective), tracker=TerminatingTracker(num_ends=5)
        )
    assert caught.value.exit_code == 128 + signal.SIGTERM
    num_done = len(lines_of(tmp_path / "s"))
    assert 5 <= num_done < 10
    num_trials = num_done + 4
    search(tmp_path / "s", num_trials, partial(PlantedObjective))
    assert sorted(params_of(tmp_path / "s")) == list(range(num_trials))
    states = states_in_journal(tmp_path / "s/optuna.journal")
    assert states == dict.fromkeys(range(num_trials), "COMPLETE")
