"""Who waits for room in a cluster says so: after a while, now and then, and not otherwise."""

from __future__ import annotations

import pytest

from spectrum.data.waits import AGAIN_S, FIRST_S, Room, WaitTeller

FULL = Room(cpus=2, free_cpus=0, gpus=1, free_gpus=1, is_short=True)
FREE = Room(cpus=2, free_cpus=1, gpus=1, free_gpus=1, is_short=True)


class Watched:
    """A teller whose time and cluster are the test's, and what it said."""

    def __init__(self, room: Room, *bundles: dict[str, float]) -> None:
        self.now, self.room, self.told = 100.0, room, list[str]()
        self.teller = WaitTeller(
            bundles or [{"CPU": 1.0}],
            room=lambda: self.room,
            tell=self.told.append,
            clock=lambda: self.now,
        )

    def wait(self, seconds: float, *, is_waiting: bool = True) -> int:
        """Look each second; return how often it has spoken by then."""
        for _ in range(int(seconds)):
            self.teller.look(is_waiting=is_waiting)
            self.now += 1.0
        return len(self.told)


def test_what_is_needed_and_what_is_free_is_told_after_some_seconds() -> None:
    seen = Watched(FULL)
    assert seen.wait(FIRST_S) == 0
    assert seen.wait(2) == 1
    assert seen.told[0].startswith(f"Nothing has run for {FIRST_S:.0f} s: it needs 1 CPUs, and ")
    assert "of the cluster's 2 CPUs 0 are free, of its 1 GPUs 1" in seen.told[0]
    assert "Another search, job or notebook on it may hold the others" in seen.told[0]


def test_it_is_told_again_now_and_then() -> None:
    assert Watched(FULL).wait(FIRST_S + 2 * AGAIN_S + 2) == 3


@pytest.mark.parametrize(
    "room", [FREE, Room(cpus=2, free_cpus=0, gpus=0, free_gpus=0, is_short=False)]
)
def test_nothing_is_said_where_there_is_room_or_what_is_asked_for_has_it(room: Room) -> None:
    assert Watched(room).wait(3 * AGAIN_S) == 0


def test_what_all_parts_of_a_trial_need_is_added_up() -> None:
    both = ({}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0})
    seen = Watched(FREE, *both)
    assert seen.wait(FIRST_S + 2) == 1
    assert "it needs 2 CPUs and 2 GPUs" in seen.told[0]


def test_what_has_begun_waits_anew_when_it_waits_again_and_it_is_not_said_that_nothing_began() -> (
    None
):
    seen = Watched(FULL)
    assert seen.wait(FIRST_S - 1) == 0
    assert seen.wait(1, is_waiting=False) == 0
    assert seen.wait(FIRST_S) == 0
    assert seen.wait(2) == 1
    assert "begun" not in seen.told[0]
    assert "it goes on when they are given back" in seen.told[0]
