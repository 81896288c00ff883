"""Trials of several sizes take turns; those of one size never wait for each other."""

from __future__ import annotations

from spectrum.search.turns import AT_MOST_S, PATIENCE_S, Turns


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def turns(*, are_mixed: bool = True) -> tuple[Turns, Clock]:
    clock = Clock()
    return Turns(are_mixed=are_mixed, clock=clock), clock


def test_a_trial_that_waits_for_long_holds_others_back_until_it_begins() -> None:
    waiting, clock = turns()
    waiting.hand_out(3)
    assert not waiting.is_held
    clock.now = PATIENCE_S + 1
    assert waiting.is_held
    waiting.begin(3)
    assert not waiting.is_held


def test_a_trial_that_never_finds_a_place_stops_the_others_for_a_while_only() -> None:
    waiting, clock = turns()
    waiting.hand_out(3)
    clock.now = AT_MOST_S + 1
    assert not waiting.is_held
    waiting.hand_out(4)
    clock.now += PATIENCE_S + 1
    assert waiting.is_held


def test_trials_of_one_size_never_wait_for_each_other() -> None:
    waiting, clock = turns(are_mixed=False)
    waiting.hand_out(3)
    clock.now = PATIENCE_S + 1
    assert not waiting.is_held


def test_a_trial_that_is_handed_out_again_waits_anew() -> None:
    waiting, clock = turns()
    waiting.hand_out(3)
    clock.now = PATIENCE_S + 1
    waiting.hand_out(3)
    assert not waiting.is_held
