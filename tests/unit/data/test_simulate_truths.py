"""What each truth plants, run by run. That decoders find it is in test_simulate_promises."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from spectrum.data.quality import measure_quality
from spectrum.data.simulate import (
    TRUTHS,
    SimulatedRun,
    SimulationConfig,
    TruthName,
    planned_runs,
    simulate_run,
)
from spectrum.data.simulate.anatomy import Grid, build_head
from spectrum.data.simulate.datasets import PLANS
from spectrum.data.simulate.leak_target import leak_class, leak_target
from spectrum.data.simulate.planting import mark_pattern
from spectrum.data.simulate.session_clock import STOPPED, runs_before
from spectrum.entities import RunKey
from spectrum.targets import Target, read_target

WITHOUT_RESPONSE: tuple[TruthName, ...] = ("leak", "site")
REAL_SUBJECTS = {"ds000002": 17, "ds000011": 14, "ds000017": 8, "ds000052": 13}
REVERSAL_1 = RunKey(dataset="ds000052", subject="01", task="reversalweatherprediction", run="1")
WEATHER_2 = RunKey(dataset="ds000052", subject="01", task="weatherprediction", run="2")
LEARNT = RunKey(dataset="ds000002", subject="02", task="deterministicclassification", run="01")


def _run(key: RunKey, truth: TruthName, **settings: object) -> SimulatedRun:
    return simulate_run(key, SimulationConfig(truth=truth, matrix=8, **settings))


@pytest.mark.parametrize("truth", TRUTHS)
def test_events_and_length_are_the_same_under_every_truth(truth: TruthName) -> None:
    are_same = []
    for key in (REVERSAL_1, replace(REVERSAL_1, run="2")):
        run, of_null = _run(key, truth), _run(key, "null")
        assert run.events == of_null.events
        assert run.data_XYZV.shape == of_null.data_XYZV.shape
        are_same.append(np.array_equal(run.data_XYZV, of_null.data_XYZV))
    assert all(are_same) == (truth == "null")


@pytest.mark.parametrize("truth", WITHOUT_RESPONSE)
def test_no_deep_response_is_in_a_truth_of_marks(truth: TruthName) -> None:
    config = SimulationConfig(truth=truth, matrix=8, datasets=("ds000052",), num_subjects=1)
    for key in planned_runs(config):
        assert set(simulate_run(key, config).response_of_system.values()) == {0.0}


@pytest.mark.parametrize(("truth", "twin"), [("clock", "null"), ("reversal", "effect")])
def test_a_clock_leaves_the_deep_response_as_it_is(truth: TruthName, twin: TruthName) -> None:
    for key in (LEARNT, WEATHER_2, REVERSAL_1):
        run, other = _run(key, truth), _run(key, twin)
        assert run.response_of_system == other.response_of_system
        assert run.clock != STOPPED
        assert other.clock == STOPPED


def test_reversal_run_1_is_early_in_learning_and_late_in_the_session() -> None:
    weather_1 = RunKey(dataset="ds000052", subject="01", task="weatherprediction", run="1")
    first, last, again = (_run(key, "reversal") for key in (weather_1, WEATHER_2, REVERSAL_1))
    assert again.response_of_system == first.response_of_system != last.response_of_system
    assert runs_before(REVERSAL_1, seed=0) == 2
    assert again.clock.elapsed_runs > first.clock.elapsed_runs


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_every_run_of_a_session_has_one_place_in_each_order(plan: object) -> None:
    runs = Counter((task.name, run) for task in plan.tasks for run in task.runs)  # type: ignore[attr-defined]
    for order in plan.orders:  # type: ignore[attr-defined]
        assert Counter(order) == runs


@pytest.mark.parametrize("dataset", PLANS)
def test_run_2_comes_after_run_1_and_sessions_start_anew(dataset: str) -> None:
    config = SimulationConfig(truth="clock", datasets=(dataset,), num_subjects=9)
    places: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    of_task: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for key in planned_runs(config):
        place = runs_before(key, seed=5)
        places[key.subject, key.session].append(place)
        of_task[key.subject, key.session, key.task].append(place)
    assert all(sorted(set(p)) == sorted(p) and min(p) == 0 for p in places.values())
    assert all(p == sorted(p) for p in of_task.values())


@pytest.mark.parametrize("dataset", ["ds000002", "ds000011"])
def test_either_task_comes_first_in_about_half_of_the_subjects(dataset: str) -> None:
    plan = PLANS[dataset]
    first = plan.tasks[0]
    places = [
        runs_before(RunKey(dataset=dataset, subject=subject, task=first.name, run="01"), seed=0)
        for subject in plan.subjects(60)
    ]
    assert binomtest(places.count(0), len(places)).pvalue > 0.001


def test_later_runs_have_brighter_air_and_more_motion_under_the_clock() -> None:
    clock = _run(WEATHER_2, "clock").clock
    later = _run(REVERSAL_1, "clock").clock
    assert later.elapsed_runs > clock.elapsed_runs
    assert later.smear_fraction > clock.smear_fraction > STOPPED.smear_fraction == 0.0
    assert later.motion_factor > clock.motion_factor > STOPPED.motion_factor == 1.0
    assert later.ghost_factor > clock.ghost_factor > STOPPED.ghost_factor == 1.0


@pytest.mark.slow
def test_the_air_is_brighter_late_in_as_many_pairs_as_in_the_real_data() -> None:
    target = read_target("early_late")
    is_brighter = []
    for (dataset, num_subjects), seed in [(d, s) for d in REAL_SUBJECTS.items() for s in (1, 2)]:
        config = SimulationConfig(
            truth="clock", datasets=(dataset,), num_subjects=num_subjects, seed=seed
        )
        air: defaultdict[str, list[float]] = defaultdict(list)
        for key in planned_runs(config):
            if target.class_of(key):
                data = simulate_run(key, config).data_XYZV
                number = measure_quality(data, (12.5, 12.5, 5.0)).run["bg_mean"]
                air[target.pair_of(key)].append(float(number or 0.0))
        is_brighter += [late > early for early, late in air.values()]
    assert len(is_brighter) == 180
    assert 0.75 < np.mean(is_brighter) < 0.91


def _head(num_slices: int, subject: str) -> object:
    grid = Grid(matrix=16, num_slices=num_slices, slice_mm=5.0)
    return build_head(grid, names=(f"ds000002/sub-{subject}",), seed=0)


def _mark(mark_of: str, subject: str, num_slices: int = 30, run: str = "01") -> np.ndarray:
    key = RunKey(dataset="ds000002", subject=subject, task="deterministicclassification", run=run)
    head = _head(num_slices, subject)
    mark = mark_pattern(head, mark_of, key=key, seed=0)  # type: ignore[arg-type]
    assert mark is not None
    return mark


def test_a_mark_is_the_subjects_or_the_data_sets_and_nothing_elses() -> None:
    np.testing.assert_array_equal(_mark("subject", "04"), _mark("subject", "04", run="02"))
    np.testing.assert_array_equal(_mark("dataset", "04"), _mark("dataset", "05"))
    marks = [_mark("subject", subject).ravel() for subject in ("04", "05")]
    assert abs(np.corrcoef(marks)[0, 1]) < 0.6
    assert 0.5 < np.std(marks) < 1.5


def test_a_mark_lies_in_the_same_place_whatever_the_number_of_slices() -> None:
    few, many = _mark("dataset", "01", 25), _mark("dataset", "04", 30)
    at_zero = [few[12], (many[14] + many[15]) / 2]
    assert np.corrcoef(np.reshape(at_zero, (2, -1)))[0, 1] > 0.99


def test_the_leak_target_gives_each_subject_one_class_and_each_data_set_both() -> None:
    config = SimulationConfig(truth="leak", num_subjects=5, seed=3)
    target = Target.model_validate(leak_target(config))
    classes: defaultdict[str, set[str | None]] = defaultdict(set)
    for key in planned_runs(config):
        classes[key.group].add(target.class_of(key))
    assert all(len(found) == 1 and None not in found for found in classes.values())
    for name in PLANS:
        counts = Counter(next(iter(f)) for group, f in classes.items() if group.startswith(name))
        assert sorted(counts.values()) == [2, 3]


def test_further_subjects_leave_the_classes_of_the_first_ones() -> None:
    small, large = (
        leak_target(SimulationConfig(truth="leak", num_subjects=n, seed=1))["rules"]
        for n in (3, 8)
    )
    assert all(rule in large for rule in small)


def test_the_coin_of_the_leak_falls_on_either_side() -> None:
    plan = PLANS["ds000011"]
    first = Counter(leak_class(plan, 0, seed=seed) for seed in range(200))
    assert binomtest(min(first.values()), 200).pvalue > 0.001
