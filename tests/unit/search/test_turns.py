"""Trials of several sizes take turns; those of one size never wait for each other."""

from __future__ import annotations

from spectrum.search.turns import PATIENCE_S, WITHOUT_ANY_S, Turns

HOUR_S = 3600.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def turns(*, are_mixed: bool = True) -> tuple[Turns, Clock]:
    clock = Clock()
    return Turns(are_mixed=are_mixed, clock=clock), clock


def test_a_trial_that_waits_for_long_holds_others_back_until_it_begins() -> None:
    waiting, clock = turns()
    waiting.hand_out(3, size=4)
    assert not waiting.are_held()
    clock.now = PATIENCE_S + 1
    assert waiting.are_held()
    waiting.begin(3)
    assert not waiting.are_held()


def test_a_large_trial_gets_places_that_become_free_hours_apart() -> None:
    waiting, clock = turns()
    for number in range(4):
        waiting.hand_out(number, size=1)
        waiting.begin(number)
    waiting.hand_out(4, size=4)
    for number in range(4):
        clock.now += HOUR_S
        assert waiting.are_held()
        waiting.end(number)
    assert waiting.are_held()
    waiting.begin(4)
    assert not waiting.are_held()


def test_a_size_that_has_no_place_in_an_idle_cluster_holds_nobody_back_again() -> None:
    waiting, clock = turns()
    waiting.hand_out(3, size=4)
    clock.now = WITHOUT_ANY_S + 1
    assert not waiting.are_held()
    waiting.hand_out(5, size=4)
    clock.now += PATIENCE_S + 1
    assert not waiting.are_held()
    waiting.hand_out(6, size=1)
    clock.now += PATIENCE_S + 1
    assert waiting.are_held()
    waiting.begin(6)
    waiting.begin(3)
    waiting.hand_out(7, size=4)
    clock.now += PATIENCE_S + 1
    assert waiting.are_held()


def test_trials_of_one_size_never_wait_for_each_other() -> None:
    waiting, clock = turns(are_mixed=False)
    waiting.hand_out(3, size=2)
    clock.now = PATIENCE_S + 1
    assert not waiting.are_held()


def test_a_trial_that_is_handed_out_again_waits_anew() -> None:
    waiting, clock = turns()
    waiting.hand_out(3, size=2)
    waiting.begin(3)
    clock.now = PATIENCE_S + 1
    waiting.end(3)
    waiting.hand_out(3, size=2)
    assert not waiting.are_held()
    clock.now += PATIENCE_S + 1
    assert waiting.are_held()


def test_trials_are_stuck_while_they_wait_and_none_runs() -> None:
    waiting, _ = turns(are_mixed=False)
    assert not waiting.is_stuck
    waiting.hand_out(3, size=1)
    waiting.hand_out(4, size=1)
    assert waiting.is_stuck
    waiting.begin(3)
    assert not waiting.is_stuck
    waiting.end(3)
    assert waiting.is_stuck
