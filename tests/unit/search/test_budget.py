"""When no further trial is proposed, what stopping saved, and what a search says it is doing."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from pathlib import Path
from typing import Any

import optuna
import pytest
from rich.console import Console

from spectrum.cli.live import table_of
from spectrum.config import TrialConfig
from spectrum.errors import ConfigError
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.regret import MIN_TRIALS, regret_bound
from spectrum.search.savings import savings
from spectrum.search.trials import TrialEnd
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, epoch_record, small_space, trial_end
from tests.unit.search.test_driver import lines_of


class Falling:
    """Each trial scores lower than the one before."""

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        yield epoch_record(0, 0.9 - number / 100, finished=True)
        return trial_end(number, 0.5)


def test_without_progress_a_study_stops_and_says_so(tmp_path: Path) -> None:
    space = small_space(patience_trials=4)
    driver = drive(
        tmp_path / "s", num_trials=30, tracker=ListTracker(), space=space, objective=Falling()
    )
    assert len(driver.lines) == 5
    assert "4 trials in a row brought no higher score" in driver.notes[-1]


def test_progress_starts_the_patience_again(tmp_path: Path) -> None:
    class Rising(Falling):
        def __call__(
            self, number: int, config: TrialConfig
        ) -> Generator[TrialEpochRecord, None, TrialEnd]:
            yield epoch_record(0, 0.1 + number / 100, finished=True)
            return trial_end(number, 0.5)

    space = small_space(patience_trials=2)
    drive(tmp_path / "s", num_trials=12, tracker=ListTracker(), space=space, objective=Rising())
    assert len(lines_of(tmp_path / "s")) == 12


def test_after_its_hours_a_session_begins_nothing_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    space, folder = small_space(max_hours=1.0, rerun={"top": 1, "seeds": 1}), StudyFolder(tmp_path)
    with folder.locked():
        clock = itertools.chain([0.0], itertools.repeat(4000.0))
        late = StudyDriver(folder, space, ListTracker(), num_trials=5, clock=lambda: next(clock))
        assert late.next_trial() is None
        assert not late.is_waiting
        assert "study.max_hours, 1, are over" in late.notes[-1]
    assert len(drive(tmp_path, num_trials=5, tracker=ListTracker(), space=space).lines) == 5


def _finish(driver: StudyDriver, number: int, score: float) -> None:
    driver.start(number)
    driver.log_epoch(number, epoch_record(0, score, finished=True))
    driver.conclude(number, trial_end(number, score))
    driver.finish(number)


def test_patience_waits_for_a_trial_that_runs_and_may_score_higher(tmp_path: Path) -> None:
    folder, space = StudyFolder(tmp_path), small_space(patience_trials=2)
    with folder.locked():
        driver = StudyDriver(folder, space, ListTracker(), num_trials=9)
        for _ in range(4):
            assert driver.next_trial() is not None
        for number, score in ((0, 0.5), (1, 0.4), (3, 0.4)):
            _finish(driver, number, score)
        assert driver.next_trial() is None
        assert driver.is_waiting
        _finish(driver, 2, 0.9)
        assert driver.next_trial() is not None
        assert not [note for note in driver.notes if "patience" in note]


def test_nothing_is_waited_for_where_all_trials_are_proposed_or_the_hours_are_over(
    tmp_path: Path,
) -> None:
    for name, hours in (("all", None), ("late", 1.0)):
        now, folder = [0.0], StudyFolder(tmp_path / name)
        space = small_space(patience_trials=1, max_hours=hours)
        with folder.locked():
            driver = StudyDriver(
                folder,
                space,
                ListTracker(),
                num_trials=9 if hours else 3,
                clock=lambda now=now: now[0],
            )
            for _ in range(3):
                assert driver.next_trial() is not None
            _finish(driver, 0, 0.5)
            _finish(driver, 1, 0.4)
            now[0] = 4000.0
            assert driver.next_trial() is None
            assert not driver.is_waiting


@pytest.mark.parametrize(("gpus", "num_begun"), [(0.0, 5), (0.25, 4), (1.0, 1)])
def test_gpu_hours_count_parts_of_gpus_over_all_sessions(
    tmp_path: Path, gpus: float, num_begun: int
) -> None:
    now, folder = [0.0], StudyFolder(tmp_path)
    space = small_space(max_gpu_hours=1.0)

    def session(num_trials: int) -> StudyDriver:
        driver = StudyDriver(
            folder, space, ListTracker(), num_trials=num_trials, clock=lambda: now[0]
        )
        driver.gpus_per_worker = gpus
        while (found := driver.next_trial()) is not None:
            driver.start(found[0])
            now[0] += 3600.0
            driver.log_epoch(found[0], epoch_record(0, 0.5, finished=True))
            driver.conclude(found[0], trial_end(found[0], 0.5))
            driver.finish(found[0])
        return driver

    with folder.locked():
        session(2)
        driver = session(5)
    assert len(driver.lines) == num_begun
    told = [note for note in driver.notes if "study.max_gpu_hours, 1, are over" in note]
    assert bool(told) is (num_begun < 5)
    assert {line["gpus"] for line in driver.lines.values()} == {gpus}


def test_gpu_hours_of_trials_that_run_count_too(tmp_path: Path) -> None:
    now, folder = [0.0], StudyFolder(tmp_path)
    with folder.locked():
        driver = StudyDriver(
            folder,
            small_space(max_gpu_hours=1.5),
            ListTracker(),
            num_trials=9,
            clock=lambda: now[0],
        )
        driver.gpus_per_worker = 1.0
        for _ in range(2):
            found = driver.next_trial()
            assert found is not None
            driver.start(found[0])
        now[0] = 0.7 * 3600.0
        found = driver.next_trial()
        assert found is not None
        driver.start(found[0])
        now[0] = 0.8 * 3600.0
        assert driver.next_trial() is None
        assert not driver.is_waiting


def test_a_study_that_can_gain_little_more_stops_and_says_so(tmp_path: Path) -> None:
    def run(name: str, limit: float | None) -> StudyDriver:
        return drive(
            tmp_path / name,
            num_trials=30,
            tracker=ListTracker(),
            space=small_space(stop_when={"regret_below": limit}),
        )

    stopped = run("stopped", 0.5)
    assert len(stopped.lines) == MIN_TRIALS
    assert "study.stop_when.regret_below is 0.5" in stopped.notes[-1]
    assert len(run("strict", 1e-9).lines) == len(run("whole", None).lines) == 30


def test_the_bound_holds_and_narrows_on_a_function_with_a_known_optimum() -> None:
    def value(trial: optuna.Trial) -> float:
        rate, width = trial.suggest_float("rate", -1, 1), trial.suggest_int("width", 1, 5)
        if width > 2:
            trial.suggest_float("only with some", 0, 1)
        return 0.8 - 0.2 * rate**2 - 0.02 * (width - 3) ** 2

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(value, n_trials=MIN_TRIALS - 1)
    assert regret_bound(study.trials, seed=0) is None
    bounds = []
    for _ in range(2):
        study.optimize(value, n_trials=21)
        bound = regret_bound(study.trials, seed=0)
        assert bound is not None
        assert 0.8 - study.best_value <= bound
        bounds.append(bound)
    assert bounds[1] < bounds[0]


def test_a_bound_on_several_objectives_is_refused() -> None:
    with pytest.raises(ConfigError, match="regret_below bounds one objective"):
        small_space(stop_when={"regret_below": 0.1}, objectives=["score", "seconds"])


def test_hours_that_end_during_re_runs_are_told(tmp_path: Path) -> None:
    now, folder = [0.0], StudyFolder(tmp_path)
    space = small_space(max_hours=1.0, rerun={"top": 1, "seeds": 3})
    with folder.locked():
        driver = StudyDriver(folder, space, ListTracker(), num_trials=1, clock=lambda: now[0])
        for _ in range(2):
            found = driver.next_trial()
            assert found is not None
            _finish(driver, found[0], 0.5)
        now[0] = 4000.0
        assert driver.next_trial() is None
    assert driver.selection is None
    assert "2 re-runs of the best trials were not begun" in driver.notes[-1]


def test_the_seconds_of_a_trial_are_those_of_all_its_attempts(tmp_path: Path) -> None:
    folder, now = StudyFolder(tmp_path), [0.0]

    def begin() -> StudyDriver:
        driver = StudyDriver(
            folder, small_space(), ListTracker(), num_trials=1, clock=lambda: now[0]
        )
        assert driver.next_trial() is not None
        driver.start(0)
        return driver

    with folder.locked():
        driver = begin()
        now[0] += 100.0
        driver.log_epoch(0, epoch_record(0, 0.5, finished=False))
        begin()
        now[0] += 7.0
        driver = begin()
        now[0] += 20.0
        driver.log_epoch(0, epoch_record(0, 0.5, finished=True))
        driver.conclude(0, trial_end(0, 0.5))
        assert driver.finish(0)["seconds"] == 120.0


def _line(state: str, num_epochs: int, by: str | None, order: str) -> dict[str, Any]:
    config = {"training": {"num_epochs": 8, "fold_order": order}}
    folds = [{}] * 3 if state == "complete" else []
    return {"stopped_by": by, "num_epochs": num_epochs, "config": config, "folds": folds}


@pytest.mark.parametrize(
    ("order", "done", "by", "epochs", "folds"),
    [("epoch", 3, "epochs", 15, 0), ("fold", 8, "folds", 16, 2), ("fold", 11, "epochs", 13, 1)],
)
def test_savings_count_what_a_stopped_trial_did_not_train(
    order: str, done: int, by: str, epochs: int, folds: int
) -> None:
    lines = [_line("complete", 8 if order == "epoch" else 24, None, order)]
    lines += [_line("pruned", done, by, order)] * 2
    assert savings(lines) == {by: {"trials": 2, "fold_epochs": 2 * epochs, "folds": 2 * folds}}


def test_the_status_names_running_trials_the_best_and_the_time_left(tmp_path: Path) -> None:
    folder, seconds = StudyFolder(tmp_path), itertools.count(step=2)
    with folder.locked():
        driver = StudyDriver(
            folder,
            small_space(),
            ListTracker(),
            num_trials=4,
            clock=lambda: float(next(seconds)),
        )
        first, second = driver.next_trial(), driver.next_trial()
        assert first is not None
        assert second is not None
        driver.start(0)
        driver.start(1)
        driver.log_epoch(0, epoch_record(0, 0.625, finished=True))
        driver.conclude(0, trial_end(0, 0.625))
        driver.finish(0)
        driver.log_epoch(1, epoch_record(0, 0.5, finished=False))
        status = driver.status
    assert (status.num_done, status.num_total, status.best) == (1, 4, (0, 0.625))
    assert [(t.number, t.epoch, t.num_epochs, t.score) for t in status.trials] == [(1, 1, 4, 0.5)]
    assert status.seconds_left is not None
    assert status.seconds_left > 0
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    console.print(table_of(status))
    text = console.export_text()
    assert "1 of 4 trials, best so far 0.625 (trial 0, selected)" in text
    assert "running" in text
