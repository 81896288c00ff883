"""What a plan says of models and time, with a fake probe of known rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum.cli.planning import cost_lines
from spectrum.config import TrialConfig, set_paths
from spectrum.search.forecast import Machine, PointCost, StepTimes, Workload, reruns_at_most
from spectrum.search.plan import plan_study
from spectrum.search.space import SearchSpace, space_from_mapping
from spectrum.training.probe import ProbedSeconds, probe_fit

SECONDS_PER_GFLOP = 0.5
BEGIN_S = 0.25


def space_of(parameters: dict[str, Any], **rest: Any) -> SearchSpace:
    base = {
        "folds": {"scheme": "leave-one-subject-out"},
        "preprocessing": {"voxel_mm": 18.0, "high_pass_hz": 0.0},
        "sequences": {"num_volumes": 3, "stride": 5},
        "model": {"embed_dim": 8, "depth": 1, "num_heads": 2, "attention_heads": 2},
        "training": {"num_epochs": 7, "batch_size": 4, "min_steps_per_epoch": 5},
    }
    return space_from_mapping({"name": "t", "base": base, "parameters": parameters, **rest})


class Linear:
    """A machine that takes the same time for every operation, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[TrialConfig, tuple[int, int, int]]] = []

    def __call__(
        self, config: TrialConfig, volume_shape: tuple[int, int, int], *, num_classes: int
    ) -> ProbedSeconds:
        from spectrum.model.cost import count_model

        self.asked.append((config, volume_shape))
        shape = (config.sequences.num_volumes, *volume_shape)
        gflop = count_model(config.model, shape, num_classes).flops_per_sequence / 1e9
        training = config.training
        return ProbedSeconds(
            step_s=3 * gflop * training.batch_size * SECONDS_PER_GFLOP,
            evaluation_s=gflop * training.evaluation_batch_size * SECONDS_PER_GFLOP,
            begin_s=BEGIN_S,
            batch_size=training.batch_size,
            evaluation_batch_size=training.evaluation_batch_size,
        )


def cost(flops: int, *, num_folds: int = 2, num_epochs: int = 7) -> PointCost:
    config = TrialConfig.model_validate(
        {"training": {"num_epochs": num_epochs, "batch_size": 4, "min_steps_per_epoch": 5}}
    )
    work = Workload(
        shape_TSHW=(3, 4, 5, 6),
        num_classes=2,
        training_of_fold=(40,) * num_folds,
        validation_of_fold=(9,) * num_folds,
    )
    return PointCost(config=config, workload=work, num_parameters=1, flops_per_sequence=flops)


def probed(flops: int, rate: float) -> tuple[PointCost, ProbedSeconds]:
    gflop = flops / 1e9
    found = ProbedSeconds(
        step_s=3 * gflop * 4 * rate,
        evaluation_s=gflop * 8 * rate,
        begin_s=0.0,
        batch_size=4,
        evaluation_batch_size=8,
    )
    return cost(flops), found


def test_a_plan_without_a_set_tells_folds_models_and_time(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    space, probe = space_of({"model.embed_dim": {"choice": [8, 16, 32]}}), Linear()
    machine = Machine(num_concurrent=2, probe=probe)
    shards = tmp_path / "shards"
    plan = plan_study(
        space, roots=[tiny_bids()], shards_root=shards, num_trials=10, machine=machine
    )
    told = plan["cost"]
    assert len(plan["folds"]) == 2
    assert told["num_points"] == 20
    assert told["refused_points"] == []
    assert told["parameters"]["least"] < told["parameters"]["most"]
    expected = told["gflop_of_trial"]["default"] * SECONDS_PER_GFLOP + 2 * BEGIN_S
    assert told["seconds_per_trial"]["default"] == pytest.approx(expected, abs=0.01)
    assert told["rerun_hours"] == pytest.approx(told["hours"] * 18 / 10)
    widths = {config.model.embed_dim for config, _ in probe.asked}
    assert widths == {8, 32}
    assert not shards.exists()


def test_without_a_probe_no_time_is_told(tiny_bids: Callable[..., Path], tmp_path: Path) -> None:
    space = space_of({"model.embed_dim": {"choice": [8, 16]}})
    told = plan_study(space, roots=[tiny_bids()], shards_root=tmp_path)["cost"]
    assert told["parameters"]["most"] > 0
    assert (told["seconds_per_trial"], told["hours"], told["probe"]) == (None, None, None)


def test_points_whose_model_cannot_be_built_are_told_with_the_reason(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    space = space_of({"sequences.num_volumes": {"choice": [3, 500]}})
    told = plan_study(space, roots=[tiny_bids()], shards_root=tmp_path)["cost"]
    assert told["num_points"] + len(told["refused_points"]) == 20
    assert "too-short" in told["refused_points"][0]


@pytest.mark.parametrize(("flops", "rate"), [(10, 0.4), (100, 0.4), (1000, 0.2), (10**7, 0.1)])
def test_between_two_probed_sizes_the_rate_is_the_geometric_mean(flops: int, rate: float) -> None:
    times = StepTimes.fitted([probed(100, 0.4), probed(10_000, 0.1)])
    asked = cost(flops)
    assert times.seconds_of(asked) == pytest.approx(rate * asked.gflop_of_trial)


def test_the_arithmetic_of_a_trial_counts_steps_folds_epochs_and_held_out_passes() -> None:
    asked = cost(10**9, num_folds=3, num_epochs=2)
    assert asked.steps_of_fold == (10, 10, 10)
    assert asked.gflop_of_trial == 2 * 3 * (10 * 3 * 4 + 9)


@pytest.mark.parametrize(("top", "trials", "reruns"), [(0, 9, 0), (5, 9, 18), (5, 4, 12)])
def test_re_runs_are_those_of_the_best_and_of_the_default(
    top: int, trials: int, reruns: int
) -> None:
    space = space_of({"model.depth": {"int": [1, 2]}}, study={"rerun": {"top": top, "seeds": 3}})
    assert reruns_at_most(space, trials) == reruns


def test_the_probe_tells_what_the_clock_said_of_a_real_short_fit() -> None:
    ticks = itertools.count()
    config = space_of({"model.depth": {"int": [1, 2]}}).default_config
    found = probe_fit(config, (4, 6, 5), num_classes=2, clock=lambda: float(next(ticks)))
    assert found.begin_s == 1.0
    assert (found.batch_size, found.evaluation_batch_size) == (4, 32)
    assert (found.step_s, found.evaluation_s) == (0.0, 1.0)


@pytest.mark.parametrize(
    "section",
    [
        {"model": {"slice_position": "mm", "temporal_position": "seconds"}},
        {"training": {"compile": True, "patience_epochs": 1, "workers": 2}},
        {"training": {"harmonisation": "dataset"}, "preprocessing": {"standardization": "none"}},
    ],
)
def test_the_probe_takes_every_kind_of_configuration(section: dict[str, Any]) -> None:
    small = {"embed_dim": 8, "depth": 1, "num_heads": 2, "attention_heads": 2}
    given = {**section, "model": {**small, **section.get("model", {})}}
    found = probe_fit(TrialConfig.model_validate(given), (4, 6, 5), num_classes=3, budget_s=0.0)
    assert found.step_s >= 0.0
    assert found.evaluation_s > 0.0


def hours_of(root: Path, workers: list[int], num_trials: int, num_concurrent: int | None) -> Any:
    """Forecast trials of these workers, which only begin and step and train long."""
    space = space_of({"training.workers": {"choice": workers}}, study={"rerun": {"top": 0}})
    written = space.model_dump(by_alias=True, exclude_unset=True)
    paths = {"training.workers": workers[0], "training.num_epochs": 5000}
    space = space_from_mapping({**written, "base": set_paths(written["base"], paths)})
    machine = Machine(num_concurrent=num_concurrent, probe=Linear())
    return plan_study(
        space, roots=[root], shards_root=root, num_trials=num_trials, machine=machine
    )["cost"]


@pytest.mark.parametrize(
    ("workers", "num_concurrent", "num_trials", "rounds"),
    [(1, 4, 3, 1), (1, 4, 4, 1), (1, 2, 5, 3), (2, 2, 3, 2), (1, None, 3, 3)],
)
def test_trials_take_whole_rounds_and_several_workers_share_their_steps(
    tiny_bids: Callable[..., Path],
    workers: int,
    num_concurrent: int | None,
    num_trials: int,
    rounds: int,
) -> None:
    told = hours_of(tiny_bids(), [workers], num_trials, num_concurrent)
    steps_s = told["gflop_of_trial"]["default"] * SECONDS_PER_GFLOP
    expected_s = steps_s / workers + 2 * BEGIN_S
    assert told["seconds_per_trial"]["default"] == pytest.approx(expected_s, rel=0.01)
    assert told["hours"] * 3600 == pytest.approx(rounds * expected_s, rel=0.01)


def test_trials_of_more_workers_are_shorter_and_fewer_at_a_time(
    tiny_bids: Callable[..., Path],
) -> None:
    alone = hours_of(tiny_bids(), [1], 600, 6)
    mixed = hours_of(tiny_bids(), [1, 3], 600, 6)
    assert mixed["seconds_per_trial"]["least"] < 0.5 * alone["seconds_per_trial"]["least"]
    assert mixed["hours"] == pytest.approx(alone["hours"], rel=0.05)


@pytest.mark.parametrize("shares_gpu", [True, False])
def test_that_trials_on_one_gpu_slow_each_other_is_told(
    tiny_bids: Callable[..., Path], tmp_path: Path, shares_gpu: bool
) -> None:
    space = space_of({"model.embed_dim": {"choice": [8, 16]}})
    machine = Machine(num_concurrent=4, has_gpu=True, shares_gpu=shares_gpu, probe=Linear())
    plan = plan_study(space, roots=[tiny_bids()], shards_root=tmp_path, machine=machine)
    told = [line for line in cost_lines(plan) if "share a GPU slow each other" in line]
    assert len(told) == shares_gpu
