"""Deaths of a trial's processes, of themselves and with their machines; no Ray, no clock."""

from __future__ import annotations

import pytest

from spectrum.search.losses import (
    LOOK_S,
    MAX_WITH_MACHINE,
    OPEN_S,
    Losses,
    LostTrials,
)

HERE = "head"


class Cluster:
    """Machines whose deaths are told later than they happen, and a clock that a test sets."""

    def __init__(self, *nodes: str) -> None:
        self.living = {HERE, *nodes}
        self.now = 0.0

    def losses(self, max_own: int = 1) -> Losses:
        return Losses(
            max_own, living=lambda: frozenset(self.living), here=HERE, clock=lambda: self.now
        )

    def lost_trials(self, max_own: int = 1) -> LostTrials:
        return LostTrials(lambda: self.losses(max_own), clock=lambda: self.now)

    def lose(self, node: str, after_s: float = 10.0) -> None:
        self.now += after_s
        self.living -= {node}


def test_a_trial_that_loses_two_machines_in_turn_before_they_are_known_begins_again() -> None:
    cluster = Cluster("a", "b", "c")
    losses = cluster.losses()
    losses.begin(["a"])
    losses.add("The actor is unavailable.")
    assert losses.next == "again"
    losses.begin(["b"])
    losses.add("The actor is unavailable.")
    assert losses.next == "wait"
    cluster.lose("b")
    assert losses.next == "again"
    cluster.lose("a")
    losses.begin(["c"])
    losses.add()
    assert losses.next == "again"
    assert (losses.num_own, losses.num_with_machine) == (0, 2)


def test_deaths_on_machines_that_live_on_count_once_their_time_is_over() -> None:
    cluster = Cluster("a", "b")
    losses = cluster.losses()
    for _ in range(2):
        losses.begin(["a"])
        losses.add()
    cluster.now = OPEN_S - 1
    assert losses.next == "wait"
    cluster.now = OPEN_S
    assert losses.next == "fail"
    assert "twice of themselves (1 made good) and 0 times with their machine (10" in str(losses)


def test_a_death_on_the_machine_that_asks_needs_no_waiting() -> None:
    for nodes in ([], [HERE]):
        losses = Cluster().losses()
        losses.begin(nodes)
        losses.add()
        assert losses.next == "again"
        losses.add()
        assert losses.next == "fail"


def test_before_a_trial_told_its_machine_it_may_stand_on_any_that_lived() -> None:
    cluster = Cluster("a", "b")
    losses = cluster.losses(max_own=0)
    losses.add()
    assert losses.next == "wait"
    cluster.living.add("c")
    cluster.lose("b")
    assert losses.next == "again"
    losses.begin(["a"])
    losses.add()
    cluster.lose("c")
    assert losses.next == "wait"


def test_what_ray_says_of_a_machine_is_believed_at_once() -> None:
    losses = Cluster("a").losses(max_own=0)
    losses.begin(["a"])
    losses.add("The actor died because its node has died. Node Id: a")
    assert losses.next == "again"
    assert losses.num_with_machine == 1


@pytest.mark.parametrize("is_told", [True, False])
def test_a_trial_that_brings_down_machine_after_machine_fails_in_the_end(is_told: bool) -> None:
    names = [str(index) for index in range(MAX_WITH_MACHINE + 1)]
    cluster = Cluster(*names)
    losses, outcomes = cluster.losses(), []
    for name in names:
        losses.begin([name])
        losses.add("its node has died" if is_told else "")
        cluster.lose(name)
        outcomes.append(losses.next)
    assert outcomes == ["again"] * MAX_WITH_MACHINE + ["fail"]
    assert f"{MAX_WITH_MACHINE + 1} times with their machine" in str(losses)


def test_a_trial_that_dies_again_and_again_at_once_waits_before_it_spends_more() -> None:
    losses = Cluster("a").losses(max_own=3)
    outcomes = []
    for _ in range(4):
        losses.begin(["a"])
        losses.add()
        outcomes.append(losses.next)
    assert outcomes == ["again", "again", "again", "wait"]


def test_lost_trials_begin_again_once_each_and_those_that_fail_are_told_once() -> None:
    cluster = Cluster("a", "b")
    lost = cluster.lost_trials()
    lost.begin(3, ["a"])
    lost.begin(5, ["b"])
    for number in (3, 5):
        lost.add(number, "")
    assert lost.settle() == []
    assert [lost.next_ready() for _ in range(3)] == [3, 5, None]
    lost.begin(3, ["a"])
    lost.begin(5, ["a"])
    for number in (3, 5):
        lost.add(number, "")
    cluster.lose("b")
    assert lost.settle() == []
    # 5 lost its first machine since, and bears one death of its own; 3 may have had its two.
    assert lost.next_ready() == 5
    assert lost.next_ready() is None
    cluster.now += OPEN_S
    failed = lost.settle()
    assert [number for number, _ in failed] == [3]
    assert "twice of themselves" in failed[0][1]
    cluster.now += OPEN_S
    assert lost.settle() == []
    assert lost.next_ready() is None


def test_while_trials_wait_the_machines_are_looked_at_now_and_then() -> None:
    cluster, looks = Cluster("a"), []

    def living() -> frozenset[str]:
        looks.append(cluster.now)
        return frozenset(cluster.living)

    def now() -> float:
        return cluster.now

    lost = LostTrials(lambda: Losses(0, living=living, here=HERE, clock=now), clock=now)
    lost.begin(0, ["a"])
    lost.add(0, "")
    looks.clear()
    for _ in range(20):
        lost.settle()
        cluster.now += LOOK_S / 4
    assert len(looks) == 5
