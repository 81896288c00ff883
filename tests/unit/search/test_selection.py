"""Re-runs of the best with new seeds: which, with what seeds, who wins, what a kill does."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum.cli.summary import search_json, search_text
from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.driver import StudyDriver
from spectrum.search.folder import StudyFolder
from spectrum.search.result import StudyResult
from spectrum.search.selection import planned_reruns, select, selection_from_json
from spectrum.search.settings import RerunConfig
from spectrum.search.trials import TrialEnd
from tests.unit.search.drive import drive
from tests.unit.search.fakes import (
    ListTracker,
    PlantedObjective,
    epoch_record,
    planted_score,
    small_space,
    trial_end,
)
from tests.unit.search.test_driver import lines_of, states_in_journal

RERUN = {"top": 2, "seeds": 3}


class LuckyObjective(PlantedObjective):
    """One trial has luck with the search's own seed."""

    def __init__(self, lucky: int) -> None:
        super().__init__()
        self.lucky = lucky
        self.seeds: list[tuple[int, int]] = []

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        self.seeds.append((number, config.seed))
        value = planted_score(config) + (0.3 if number == self.lucky else 0.0)
        yield epoch_record(0, value, finished=True)
        return trial_end(number, value)


def line(number: int, value: float, state: str = "complete") -> dict[str, Any]:
    return {"number": number, "state": state, "value": value, "config": {"seed": 4}}


def ended(number: int, value: float) -> dict[str, Any]:
    """A line with all that a result tells of a trial."""
    return {
        **line(number, value),
        "score": {"value": value, "ci95": [value - 0.1, value + 0.1]},
        "params": {},
        "config": TrialConfig().model_dump(mode="json"),
        "stopped_by": None,
        "num_epochs": 4,
        "folds": [{}],
    }


def test_the_best_are_run_again_and_the_default_beside_them() -> None:
    lines = {n: line(n, v) for n, v in enumerate([0.5, 0.7, 0.9, 0.8])}
    lines[4] = line(4, 0.99, state="pruned")
    planned = planned_reruns(lines, RerunConfig(top=2, seeds=3))
    assert [rerun.of for rerun in planned] == [2, 2, 2, 3, 3, 3, 0, 0, 0]
    assert len({rerun.number for rerun in planned}) == 9


def test_a_default_among_the_best_is_run_again_once() -> None:
    lines = {n: line(n, v) for n, v in enumerate([0.95, 0.7, 0.9])}
    planned = planned_reruns(lines, RerunConfig(top=2, seeds=1))
    assert [rerun.of for rerun in planned] == [0, 2]


def test_seeds_are_new_and_the_same_for_all_trials() -> None:
    lines = {n: line(n, v) for n, v in enumerate([0.5, 0.7, 0.9])}
    planned = planned_reruns(lines, RerunConfig(top=2, seeds=3))
    seeds = {(rerun.of, rerun.index): rerun.seed_of(4) for rerun in planned}
    assert len(set(seeds.values())) == 3
    assert 4 not in seeds.values()
    assert all(seeds[2, index] == seeds[0, index] for index in range(3))
    assert planned[0].seed_of(4) != planned[0].seed_of(5)


def test_the_highest_mean_wins_and_the_default_never_unless_it_is_among_the_best() -> None:
    lines = {n: line(n, v) for n, v in enumerate([0.5, 0.7, 0.9])}
    config = RerunConfig(top=2, seeds=2)
    means = {2: 0.6, 1: 0.65, 0: 0.99}
    reruns = {r.number: line(r.number, means[r.of]) for r in planned_reruns(lines, config)}
    found = select(lines, reruns, config)
    assert found is not None
    assert found.winner == 1
    assert found.mean_of(0) == found.better_default == pytest.approx(0.99)
    assert (found.beside, found.num_candidates) == ((0,), 2)
    assert selection_from_json(json.loads(json.dumps(found.to_json()))) == found
    assert select(lines, dict(list(reruns.items())[:-1]), config) is None


def test_a_trial_whose_re_run_failed_cannot_win() -> None:
    lines = {n: line(n, v) for n, v in enumerate([0.5, 0.7, 0.9])}
    config = RerunConfig(top=2, seeds=2)
    reruns = {
        r.number: line(r.number, 0.8, state="failed" if r.of == 2 and r.index else "complete")
        for r in planned_reruns(lines, config)
    }
    found = select(lines, reruns, config)
    assert found is not None
    assert (found.winner, found.failed) == (1, (2,))


@pytest.mark.parametrize(("default", "is_higher"), [(0.99, True), (0.5, False)])
def test_a_result_counts_only_those_that_could_win_and_names_a_better_default(
    default: float, is_higher: bool
) -> None:
    lines = {n: ended(n, v) for n, v in enumerate([0.5, 0.7, 0.9, 0.6])}
    config = RerunConfig(top=2, seeds=2)
    means = {2: 0.6, 1: 0.65, 0: default}
    reruns = {r.number: line(r.number, means[r.of]) for r in planned_reruns(lines, config)}
    floor = {"value": 0.5, "ci95": [0.4, 0.6]}
    result = StudyResult(
        study=Path("s"),
        lines=lines,
        floor={"floor": floor, "majority": floor, "chance": 0.5, "verdict": "v"},
        seconds=1.0,
        selection=select(lines, reruns, config),
    )
    told = result.to_json()
    by = told["best"]["selected_by"]
    assert "of the 2 best of 4 complete trials" in by
    assert "this mean is selected too" in by
    text = search_text(search_json(told, aim_repo="aim", report=Path("r.html")))
    assert "the highest of 2 on the same subjects, selected too" in text
    assert ("could not win, is 0.990" in by) is is_higher
    assert ("the default's mean is higher" in text) is is_higher


def test_luck_of_one_seed_does_not_win(tmp_path: Path) -> None:
    tracker, objective = ListTracker(), LuckyObjective(lucky=1)
    driver = drive(
        tmp_path / "s",
        num_trials=6,
        tracker=tracker,
        space=small_space(rerun=RERUN),
        objective=objective,
    )
    assert driver.selection is not None
    by_search = max(driver.lines.values(), key=lambda line: line["value"])
    assert by_search["number"] == 1
    truth = {n: planted_score(TrialConfig(**line["config"])) for n, line in driver.lines.items()}
    candidates = [n for n in driver.selection.scores if n or truth[0] == max(truth.values())]
    assert driver.selection.winner == max(candidates, key=lambda n: truth[n])
    assert tracker.ends[-1][0] == driver.selection.winner
    assert "best" in tracker.ends[-1][2]
    assert {number for number, *_ in tracker.ends} == set(range(6))


def test_re_runs_are_lines_of_their_own_and_unknown_to_the_journal(tmp_path: Path) -> None:
    objective = LuckyObjective(lucky=-1)
    drive(
        tmp_path / "s",
        num_trials=4,
        tracker=ListTracker(),
        space=small_space(rerun=RERUN),
        objective=objective,
    )
    lines = lines_of(tmp_path / "s")
    reruns = [line for line in lines if line.get("kind") == "rerun"]
    assert sorted(line["number"] for line in lines if "kind" not in line) == [0, 1, 2, 3]
    assert len(reruns) in (6, 9)
    assert all(line["config"]["seed"] == line["seed"] for line in reruns)
    assert len({(line["of"], line["seed"]) for line in reruns}) == len(reruns)
    assert sorted(states_in_journal(tmp_path / "s/optuna.journal")) == [0, 1, 2, 3]


def test_re_runs_go_on_where_a_kill_stopped_them(tmp_path: Path) -> None:
    space, path = small_space(rerun=RERUN), tmp_path / "s"
    drive(path, num_trials=4, tracker=ListTracker(), space=space)
    whole = (path / "trials.jsonl").read_text().splitlines(keepends=True)
    (path / "trials.jsonl").write_text("".join(whole[:6]))
    objective = LuckyObjective(lucky=-1)
    driver = drive(path, num_trials=4, tracker=ListTracker(), space=space, objective=objective)
    assert len(objective.seeds) == len(whole) - 6
    assert sorted(line["number"] for line in lines_of(path)) == sorted(
        json.loads(line)["number"] for line in whole
    )
    assert driver.selection is not None


def test_more_trials_take_the_selection_back_until_their_best_are_run_again(
    tmp_path: Path,
) -> None:
    space, path = small_space(rerun=RERUN, sampler="random"), tmp_path / "s"
    first = drive(path, num_trials=3, tracker=ListTracker(), space=space)
    more = drive(path, num_trials=12, tracker=ListTracker(), space=space)
    assert first.selection is not None
    assert more.selection is not None
    assert (first.selection.num_trials, more.selection.num_trials) == (3, 12)
    assert len(lines_of(path)) < 12 + 2 * 9


def test_a_driver_waits_for_trials_that_run_before_it_plans_re_runs(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    with folder.locked():
        driver = StudyDriver(folder, small_space(rerun=RERUN), ListTracker(), num_trials=2)
        begun = [driver.next_trial(), driver.next_trial()]
        assert driver.next_trial() is None
        assert driver.is_waiting
        for number, _ in filter(None, begun):
            driver.start(number)
            driver.log_epoch(number, epoch_record(0, 0.5 + number / 10, finished=True))
            driver.conclude(number, trial_end(number, 0.5))
            driver.finish(number)
        again = driver.next_trial()
    assert again is not None
    assert again[0] not in (0, 1)


def test_the_mean_is_nearer_the_truth_than_the_highest_score() -> None:
    """Planted truth: all equal, so that whatever the search's highest score adds is luck."""
    rng = np.random.default_rng(3)
    config = RerunConfig()
    gaps = []
    for _ in range(200):
        lines = {n: line(n, float(v)) for n, v in enumerate(rng.normal(0.6, 0.05, size=30))}
        reruns = {
            r.number: line(r.number, float(rng.normal(0.6, 0.05)))
            for r in planned_reruns(lines, config)
        }
        found = select(lines, reruns, config)
        assert found is not None
        mean = found.mean_of(found.winner)
        assert mean is not None
        gaps.append((max(x["value"] for x in lines.values()) - 0.6, mean - 0.6))
    by_score, by_mean = np.mean(gaps, axis=0)
    assert by_mean < 0.5 * by_score
