from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from spectrum.data.simulate import (
    DEEP_REGIONS,
    SimulatedRun,
    SimulationConfig,
    planned_runs,
    simulate_run,
)
from spectrum.data.simulate.datasets import PLANS
from spectrum.entities import RunKey

MEDIAL_TEMPORAL, STRIATUM = "medial temporal lobe", "striatum"
Pairs = list[tuple[SimulatedRun, SimulatedRun]]


def _stage_pairs(config: SimulationConfig, *, learns: bool = True) -> Pairs:
    keys = [k for k in planned_runs(config) if PLANS[k.dataset].task_of(k).learns is learns]
    runs = {k: simulate_run(k, config) for k in keys if k.run_number in (1, 2)}
    early = [k for k in runs if k.run_number == 1]
    later = {_pair_name(k): run for k, run in runs.items() if k.run_number == 2}
    return [(runs[k], later[_pair_name(k)]) for k in early]


def _pair_name(key: RunKey) -> tuple[str, str, str, str]:
    return key.dataset, key.subject, key.session, key.task


@pytest.fixture(scope="module", params=["effect", "null"])
def truth(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pairs(truth: str) -> Pairs:
    return _stage_pairs(SimulationConfig(truth=truth, num_subjects=3, effect_percent=6.0))


def _points_mm(run: SimulatedRun) -> np.ndarray:
    indices = np.moveaxis(np.indices(run.data_XYZV.shape[:3]), 0, -1)
    return indices @ run.affine[:3, :3].T + run.affine[:3, 3]


def _region_sd(run: SimulatedRun, system: str) -> float:
    """Temporal SD of the mean of z-scored voxels in the places that DEEP_REGIONS names."""
    points_mm = _points_mm(run)
    inside = np.any([r.contains(points_mm) for r in DEEP_REGIONS if r.system == system], axis=0)
    series = run.data_XYZV[inside].astype(float)
    centered = series - series.mean(axis=1, keepdims=True)
    return float((centered / centered.std(axis=1, keepdims=True)).mean(axis=0).std())


def _is_called_early(run: SimulatedRun, other: SimulatedRun) -> bool:
    ratios = [_region_sd(r, MEDIAL_TEMPORAL) / _region_sd(r, STRIATUM) for r in (run, other)]
    return ratios[0] > ratios[1]


def test_the_planted_stage_is_found_and_the_null_is_at_chance(pairs: Pairs, truth: str) -> None:
    hits = [_is_called_early(early, late) for early, late in pairs]
    if truth == "effect":
        assert np.mean(hits) > 0.95
    else:
        assert binomtest(sum(hits), len(hits)).pvalue > 0.05


def test_tasks_without_learning_carry_no_stage() -> None:
    config = SimulationConfig(
        truth="effect", num_subjects=4, datasets=("ds000017",), effect_percent=6.0
    )
    hits = [_is_called_early(*pair) for pair in _stage_pairs(config, learns=False)]
    assert binomtest(sum(hits), len(hits)).pvalue > 0.05
    for key in planned_runs(config):
        if "stop" in key.task:
            assert set(simulate_run(key, config).response_of_system.values()) == {0.0}


def _first_order(run: SimulatedRun) -> dict[str, float]:
    """Numbers of a run that an acquisition floor may know."""
    data = run.data_XYZV.astype(np.float32)
    mean = data.mean(axis=-1)
    bright = float(np.percentile(mean, 95))
    head, air = mean > 0.5 * bright, mean < 0.1 * bright
    steps = np.sqrt((np.diff(data[head], axis=-1) ** 2).mean(axis=0))
    return {
        "foreground": float(np.median(mean[head])),
        "foreground spread": float(mean[head].std()),
        "background": float(mean[air].mean()),
        "background spread": float(data[air].std()),
        "tsnr": float((mean[head] / data[head].std(axis=-1)).mean()),
        "dvars": float(steps.mean()),
        "length": float(data.shape[-1]),
    }


def test_no_first_order_number_tells_early_from_late(pairs: Pairs) -> None:
    numbers = [(_first_order(early), _first_order(late)) for early, late in pairs]
    for name in numbers[0][0]:
        differing = [(a[name], b[name]) for a, b in numbers if a[name] != b[name]]
        higher_late = sum(late > early for early, late in differing)
        assert binomtest(higher_late, len(differing)).pvalue > 0.05, name


def test_levels_lie_in_the_range_of_the_real_images(pairs: Pairs) -> None:
    for run, _ in pairs:
        numbers = _first_order(run)
        low, high = (1000, 2500) if run.key.dataset == "ds000052" else (400, 900)
        assert low < numbers["foreground"] < high
        assert 35 < numbers["tsnr"] < 80


def test_truths_differ_only_in_what_is_planted() -> None:
    key = RunKey(dataset="ds000052", subject="03", task="weatherprediction", run="2")
    runs = [
        simulate_run(key, SimulationConfig(truth=truth, effect_percent=0.0, matrix=8))
        for truth in ("effect", "null")
    ]
    np.testing.assert_array_equal(runs[0].data_XYZV, runs[1].data_XYZV)
    assert runs[0].events == runs[1].events


def test_the_null_plants_either_pattern_but_the_same_in_both_runs() -> None:
    config = SimulationConfig(
        truth="null", num_subjects=8, matrix=8, datasets=("ds000052",), effect_percent=6.0
    )
    pairs = _stage_pairs(config)
    assert all(early.response_of_system == late.response_of_system for early, late in pairs)
    strongest = [max(early.response_of_system.values()) for early, _ in pairs]
    assert set(strongest) == {config.effect_percent}
    is_medial = [early.response_of_system[MEDIAL_TEMPORAL] == 6.0 for early, _ in pairs]
    assert 0.2 < np.mean(is_medial) < 0.8


def test_a_reversal_looks_early_again_and_then_late() -> None:
    config = SimulationConfig(truth="effect", matrix=8, effect_percent=5.0)
    for run, system in (("1", MEDIAL_TEMPORAL), ("2", STRIATUM)):
        key = RunKey(dataset="ds000052", subject="01", task="reversalweatherprediction", run=run)
        response = simulate_run(key, config).response_of_system
        assert max(response, key=lambda name: response[name]) == system
        assert max(response.values()) == 5.0


def test_a_run_depends_on_its_key_and_the_seed_alone() -> None:
    key = RunKey(dataset="ds000002", subject="02", task="mixedeventrelatedprobe", run="01")
    small, large = (
        SimulationConfig(truth="effect", matrix=8, num_subjects=n, seed=7) for n in (2, 9)
    )
    first, second = simulate_run(key, small), simulate_run(key, large)
    other_seed = simulate_run(key, small.model_copy(update={"seed": 8}))
    np.testing.assert_array_equal(first.data_XYZV, second.data_XYZV)
    assert first.events == second.events
    assert not np.array_equal(first.data_XYZV, other_seed.data_XYZV)
    assert first.events != other_seed.events


def test_subjects_have_heads_of_their_own_that_stay_over_runs() -> None:
    config = SimulationConfig(truth="null", num_subjects=2, datasets=("ds000011",))
    means = {
        (key.subject, key.task): simulate_run(key, config).data_XYZV.mean(axis=-1).ravel()
        for key in planned_runs(config)
        if key.run == "01"
    }
    single, dual = "Singletaskweatherprediction", "Dualtaskweatherprediction"
    same = np.corrcoef(means["01", single], means["01", dual])[0, 1]
    other = np.corrcoef(means["01", single], means["02", single])[0, 1]
    assert same > 0.999
    assert other < 0.99


def test_motion_moves_the_edge_of_the_head_most() -> None:
    key = RunKey(dataset="ds000011", subject="01", task="tonecounting")
    still, moving = (
        simulate_run(key, SimulationConfig(truth="null", motion_mm=mm)).data_XYZV.astype(float)
        for mm in (0.0, 1.0)
    )
    added = moving.var(axis=-1) - still.var(axis=-1)
    steepness = np.linalg.norm(np.gradient(still.mean(axis=-1)), axis=0)
    is_edge = steepness > np.percentile(steepness, 90)
    assert added[is_edge].mean() > 5 * max(added[~is_edge].mean(), 0.0) > 0


def test_deep_systems_are_disjoint_and_of_like_volume() -> None:
    grid_mm = np.stack(np.meshgrid(*[np.arange(-90.0, 91.0, 2.0)] * 3, indexing="ij"), axis=-1)
    medial, striatum = (
        np.any([r.contains(grid_mm) for r in DEEP_REGIONS if r.system == system], axis=0)
        for system in (MEDIAL_TEMPORAL, STRIATUM)
    )
    assert (medial & striatum).sum() < 0.02 * medial.sum()
    assert medial.sum() / striatum.sum() == pytest.approx(1.0, abs=0.15)
