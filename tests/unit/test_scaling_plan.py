"""The arithmetic of weak scaling and of what one driver can keep busy."""

from __future__ import annotations

import pytest

from tests.benchmarks.scaling_plan import (
    DriverCost,
    Moment,
    efficiency,
    gpus_at_limit,
    round_s,
    share_of_core,
)


def test_more_nodes_that_cost_no_time_are_fully_efficient_and_slower_ones_less() -> None:
    assert efficiency(40.0, 40.0) == 1.0
    assert efficiency(40.0, 50.0) == pytest.approx(0.8)


def test_a_round_leaves_out_the_first_trial_of_each_process() -> None:
    late = [Moment(2, 25.0, 37.0), Moment(2, 37.5, 48.0)]
    assert round_s([Moment(1, 0.0, 30.0), Moment(1, 30.5, 41.0), *late]) == 11.0


def test_a_round_knows_the_order_of_trials_by_their_ends() -> None:
    moments = [Moment(1, 20.0, 30.0), Moment(1, 0.0, 10.0), Moment(1, 10.0, 20.0)]
    assert round_s(moments) == 10.0


def test_the_driver_is_at_its_limit_where_it_takes_one_core() -> None:
    cost = DriverCost(trial_s=0.2, report_s=0.01)
    num_gpus = gpus_at_limit(trial_s=600.0, driver_s=cost.of_trial(10))
    assert num_gpus == pytest.approx(2000.0)
    share = share_of_core(2000, trial_s=600.0, driver_s=cost.of_trial(10))
    assert share == pytest.approx(1.0)


def test_twice_the_gpus_or_half_the_trial_take_twice_the_driver() -> None:
    once = share_of_core(100, trial_s=600.0, driver_s=0.3)
    assert share_of_core(200, trial_s=600.0, driver_s=0.3) == pytest.approx(2 * once)
    assert share_of_core(100, trial_s=300.0, driver_s=0.3) == pytest.approx(2 * once)
