"""The driver of a study, without Ray: states, resume, kills, agreement of the records."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from spectrum.config import TrialConfig
from spectrum.errors import LeakageError, SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.json_lines import read_lines
from spectrum.search.space import space_from_mapping
from spectrum.search.trials import TrialEnd
from tests.unit.search.drive import drive
from tests.unit.search.fakes import (
    NUM_EPOCHS,
    BrokenTracker,
    ListTracker,
    PlantedObjective,
    epoch_record,
    small_space,
)

CHECKOUT = Path(__file__).parents[3]


def states_in_journal(path: Path) -> dict[int, str]:
    study = optuna.load_study(
        study_name="spectrum", storage=JournalStorage(JournalFileBackend(str(path)))
    )
    return {trial.number: trial.state.name for trial in study.trials}


def lines_of(path: Path) -> list[dict]:
    return read_lines(path / "trials.jsonl", signed=True)


def params_of(path: Path) -> dict[int, dict]:
    return {line["number"]: line["params"] for line in lines_of(path)}


def test_every_trial_stands_once_in_journal_lines_and_tracker(tmp_path: Path) -> None:
    tracker = ListTracker()
    drive(tmp_path / "s", num_trials=5, tracker=tracker)
    assert states_in_journal(tmp_path / "s/optuna.journal") == dict.fromkeys(range(5), "COMPLETE")
    assert [line["number"] for line in lines_of(tmp_path / "s")] == list(range(5))
    assert [number for number, *_ in tracker.ends] == list(range(5))
    assert len(tracker.epochs) == 5 * NUM_EPOCHS


def test_the_default_configuration_is_trial_0_and_carries_its_tag(tmp_path: Path) -> None:
    tracker = ListTracker()
    drive(tmp_path / "s", num_trials=2, tracker=tracker)
    assert params_of(tmp_path / "s")[0] == {
        "preprocessing.fwhm_mm": 6.0,
        "optimizer.lr": 1e-3,
        "model.num_heads": 4,
    }
    assert "default" in tracker.ends[0][2]
    assert "default" not in tracker.ends[1][2]


@pytest.mark.parametrize(
    ("trouble", "kind"), [("nan", "NotFinite"), ("error", "RuntimeError"), ("silent", "NoResult")]
)
def test_a_bad_trial_is_failed_with_its_cause_and_the_study_goes_on(
    tmp_path: Path, trouble: str, kind: str
) -> None:
    drive(
        tmp_path / "s",
        num_trials=4,
        tracker=ListTracker(),
        objective=PlantedObjective({1: trouble}),
    )
    states = states_in_journal(tmp_path / "s/optuna.journal")
    assert states == {0: "COMPLETE", 1: "FAIL", 2: "COMPLETE", 3: "COMPLETE"}
    line = lines_of(tmp_path / "s")[1]
    assert (line["state"], line["error"]["kind"], line["value"]) == ("failed", kind, None)


def test_leakage_stops_the_study_at_once(tmp_path: Path) -> None:
    driver = drive(
        tmp_path / "s",
        num_trials=6,
        tracker=ListTracker(),
        objective=PlantedObjective({2: "leak"}),
    )
    assert isinstance(driver.fatal, LeakageError)
    assert len(lines_of(tmp_path / "s")) == 3


def test_a_spent_failure_budget_stops_the_study(tmp_path: Path) -> None:
    driver = drive(
        tmp_path / "s",
        num_trials=9,
        tracker=ListTracker(),
        space=small_space(max_failed=1),
        objective=PlantedObjective({1: "error", 3: "error"}),
    )
    assert isinstance(driver.fatal, SearchError)
    assert "max_failed allows 1" in str(driver.fatal)
    assert len(lines_of(tmp_path / "s")) == 4


def test_a_pruned_trial_is_stored_pruned_with_its_last_score_and_never_complete(
    tmp_path: Path,
) -> None:
    space = small_space(pruner={"rule": "halving", "min_epochs": 1, "reduction": 2}, seed=1)
    drive(tmp_path / "s", num_trials=12, tracker=ListTracker(), space=space)
    pruned = [line for line in lines_of(tmp_path / "s") if line["state"] == "pruned"]
    assert pruned
    states = states_in_journal(tmp_path / "s/optuna.journal")
    for line in pruned:
        assert states[line["number"]] == "PRUNED"
        assert line["num_epochs"] < NUM_EPOCHS
        assert line["value"] is None
        assert line["score"]["value"] > 0
    assert states[0] == "COMPLETE"


def test_the_same_seed_proposes_the_same_points_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        drive(tmp_path / name, num_trials=6, tracker=ListTracker(), space=small_space(seed=seed))
    assert params_of(tmp_path / "a") == params_of(tmp_path / "b")
    assert params_of(tmp_path / "a") != params_of(tmp_path / "c")


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp", "nsgaii", "nsgaiii"])
def test_a_resumed_study_proposes_what_the_undisturbed_one_would(
    tmp_path: Path, sampler: str
) -> None:
    space = small_space(sampler=sampler)
    drive(tmp_path / "whole", num_trials=7, tracker=ListTracker(), space=space)
    for num_trials in (3, 5, 7):
        drive(tmp_path / "parts", num_trials=num_trials, tracker=ListTracker(), space=space)
    assert params_of(tmp_path / "whole") == params_of(tmp_path / "parts")


def test_a_space_with_conditions_resumes_with_the_same_proposals(tmp_path: Path) -> None:
    mapping = small_space(startup_trials=2).model_dump(mode="python")
    mapping["parameters"]["model.drop_rate"] = {
        "uniform": [0.0, 0.5],
        "when": {"preprocessing.fwhm_mm": [6, 9]},
    }
    space = space_from_mapping(mapping)
    drive(tmp_path / "whole", num_trials=12, tracker=ListTracker(), space=space)
    for num_trials in (4, 9, 12):
        drive(tmp_path / "parts", num_trials=num_trials, tracker=ListTracker(), space=space)
    assert params_of(tmp_path / "whole") == params_of(tmp_path / "parts")
    assert {len(params) for params in params_of(tmp_path / "whole").values()} == {3, 4}


def test_proposals_differ_from_each_other(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=6, tracker=ListTracker(), space=small_space(sampler="random"))
    rates = {params["optimizer.lr"] for params in params_of(tmp_path / "s").values()}
    assert len(rates) == 6


def test_an_unfinished_trial_runs_first_under_its_number_with_its_parameters(
    tmp_path: Path,
) -> None:
    folder = StudyFolder(tmp_path / "s")
    with folder.locked():
        driver = StudyDriver(folder, small_space(), ListTracker(), num_trials=3)
        driver.next_trial()
        number, config = driver.next_trial() or (-1, {})
        driver.start(number)
        driver.log_epoch(number, epoch_record(0, 0.4, finished=False))
    with folder.locked():
        again = StudyDriver(folder, small_space(), ListTracker(), num_trials=3)
        assert again.num_left == 3
        numbers = [again.next_trial() for _ in range(4)]
    assert [found and found[0] for found in numbers] == [0, 1, 2, None]
    assert numbers[1] == (number, config)


def test_a_trial_that_is_run_again_forgets_the_records_of_its_first_attempt(
    tmp_path: Path,
) -> None:
    folder = StudyFolder(tmp_path / "s")
    with folder.locked():
        driver = StudyDriver(folder, small_space(), ListTracker(), num_trials=1)
        driver.next_trial()
        driver.start(0)
        driver.log_epoch(0, epoch_record(0, 0.4, finished=False))
    drive(tmp_path / "s", num_trials=1, tracker=ListTracker())
    assert [r.epoch for r in folder.read_records(0)] == list(range(NUM_EPOCHS))


def test_epochs_told_again_stop_no_trial_that_had_gone_on_from_them(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    space = small_space(pruner={"rule": "median", "min_epochs": 1, "min_rivals": 1})
    with folder.locked():
        driver = StudyDriver(folder, space, ListTracker(), num_trials=3)
        for number in range(3):
            assert (driver.next_trial() or (-1,))[0] == number
            driver.start(number)
        assert not driver.should_stop(1, epoch_record(0, 0.4, finished=False))
        assert not driver.should_stop(1, epoch_record(1, 0.4, finished=False))
        for epoch in range(3):
            assert not driver.should_stop(2, epoch_record(epoch, 0.9, finished=False))
    with folder.locked():
        again = StudyDriver(folder, space, ListTracker(), num_trials=3)
        for number in range(3):
            again.next_trial()
            again.start(number)
        assert not again.should_stop(1, epoch_record(0, 0.4, finished=False))
        assert again.should_stop(1, epoch_record(1, 0.4, finished=False))


@pytest.mark.parametrize("name", ["optuna.journal", "trials.jsonl"])
def test_a_torn_last_line_is_cut_with_a_note_and_the_study_goes_on(
    tmp_path: Path, name: str
) -> None:
    drive(tmp_path / "s", num_trials=2, tracker=ListTracker())
    with (tmp_path / "s" / name).open("a") as file:
        file.write('{"number": 7, "state": "comp')
    driver = drive(tmp_path / "s", num_trials=4, tracker=ListTracker())
    assert [note for note in driver.notes if note.startswith(f"{name} ended in a half-written")]
    assert sorted(params_of(tmp_path / "s")) == [0, 1, 2, 3]
    assert set(states_in_journal(tmp_path / "s/optuna.journal").values()) == {"COMPLETE"}


def test_a_line_that_the_journal_was_not_told_of_is_told_on_resume(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=3, tracker=ListTracker())
    journal = tmp_path / "s/optuna.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    assert states_in_journal(journal)[2] == "RUNNING"
    drive(tmp_path / "s", num_trials=3, tracker=ListTracker())
    assert states_in_journal(journal) == dict.fromkeys(range(3), "COMPLETE")
    assert len(lines_of(tmp_path / "s")) == 3


def test_a_lost_line_is_refused_rather_than_searched_again(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=3, tracker=ListTracker())
    path = tmp_path / "s/trials.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    with pytest.raises(SearchError, match=r"trial 1 as ended, trials\.jsonl does not know it"):
        drive(tmp_path / "s", num_trials=3, tracker=ListTracker())


def test_a_lost_journal_is_refused_rather_than_searched_again(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=3, tracker=ListTracker())
    (tmp_path / "s/optuna.journal").unlink()
    with pytest.raises(SearchError, match="the journal does not know it"):
        drive(tmp_path / "s", num_trials=3, tracker=ListTracker())


def test_what_every_trial_tells_is_noted_once(tmp_path: Path) -> None:
    class Telling(PlantedObjective):
        def __call__(
            self, number: int, config: TrialConfig
        ) -> Generator[TrialEpochRecord, None, TrialEnd]:
            end = yield from super().__call__(number, config)
            return replace(end, notes=("Volumes are told of.", f"Parity {number % 2}."))

    driver = drive(tmp_path / "s", num_trials=4, tracker=ListTracker(), objective=Telling())
    assert driver.notes == ["Volumes are told of.", "Parity 0.", "Parity 1."]


def test_a_failing_tracker_costs_a_note_and_nothing_else(tmp_path: Path) -> None:
    driver = drive(tmp_path / "s", num_trials=3, tracker=BrokenTracker())
    assert [line["state"] for line in lines_of(tmp_path / "s")] == ["complete"] * 3
    assert len(driver.notes) == 1
    assert "no space left on the tracker's disk" in driver.notes[0]


def test_a_tracker_that_missed_the_end_of_a_trial_is_told_on_resume(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=2, tracker=ListTracker())
    (tmp_path / "s/trials/1/.tracked").unlink()
    tracker = ListTracker()
    drive(tmp_path / "s", num_trials=2, tracker=tracker)
    assert [end[0] for end in tracker.ends] == [1]
    assert tracker.epochs == [(1, epoch) for epoch in range(NUM_EPOCHS)]


def test_two_searches_on_one_folder_are_refused(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    with folder.locked(), pytest.raises(SearchError, match="Another search works on"):
        drive(tmp_path / "s", num_trials=1, tracker=ListTracker())


def test_search_finds_the_planted_answer(tmp_path: Path) -> None:
    drive(tmp_path / "s", num_trials=20, tracker=ListTracker())
    lines = lines_of(tmp_path / "s")
    best = max(lines, key=lambda line: line["value"])
    assert best["config"]["preprocessing"]["fwhm_mm"] == 9.0
    assert best["value"] > lines[0]["value"]


def _begin(path: Path, num_trials: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.search.drive", str(path), str(num_trials)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_study_ends_with_each_trial_once(
    tmp_path: Path, num_kills: int
) -> None:
    rng = random.Random(8)
    path, num_trials = tmp_path / "s", 3 * num_kills
    kills = 0
    for attempt in range(60):
        process = _begin(path, num_trials)
        if attempt < num_kills:
            time.sleep(rng.uniform(0.0, 0.12))
            process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        if process.returncode == 0:
            break
    assert kills == num_kills
    lines = lines_of(path)
    assert sorted(line["number"] for line in lines) == list(range(num_trials))
    wanted = {line["number"]: line["state"] for line in lines}
    told = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    found = {n: told[state] for n, state in states_in_journal(path / "optuna.journal").items()}
    assert found == wanted
    tracked = {int(p.stem): json.loads(p.read_text()) for p in (tmp_path / "tracked").iterdir()}
    assert tracked == {line["number"]: line for line in lines}


def test_a_trial_that_starts_from_weights_is_recorded_with_what_they_hold(tmp_path: Path) -> None:
    weights = tmp_path / "vit.safetensors"
    weights.write_bytes(b"any bytes")
    space = small_space()
    model = {**space.base["model"], "weights": str(weights), "amplitude_fraction": 0.0}
    space = space.model_copy(update={"base": {**space.base, "model": model}})
    drive(tmp_path / "s", num_trials=1, tracker=ListTracker(), space=space)
    recorded = lines_of(tmp_path / "s")[0]["config"]["model"]
    assert recorded["weights"] == str(weights)
    assert recorded["weights_sha256"] == hashlib.sha256(b"any bytes").hexdigest()
