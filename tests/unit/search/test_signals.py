"""Signals that end a search in order."""

from __future__ import annotations

import os
import signal

import pytest

from spectrum.search.signals import SIGNALS, noted_signals


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_told_once_and_the_next_has_its_usual_effect(number: signal.Signals) -> None:
    told: list[int] = []
    usual: list[int] = []
    before = signal.signal(number, lambda n, frame: usual.append(n))
    try:
        with noted_signals(told.append):
            os.kill(os.getpid(), number)
            assert (told, usual) == ([number], [])
            os.kill(os.getpid(), number)
            assert (told, usual) == ([number], [number])
        os.kill(os.getpid(), number)
        assert (told, usual) == ([number], [number, number])
    finally:
        signal.signal(number, before)


def test_a_signal_that_a_library_took_can_be_taken_back() -> None:
    told: list[int] = []
    with noted_signals(told.append) as take:
        signal.signal(signal.SIGUSR1, lambda n, frame: None)
        take()
        os.kill(os.getpid(), signal.SIGUSR1)
        take()
    assert told == [signal.SIGUSR1]


def test_a_hang_up_that_nohup_has_ignored_stays_ignored() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals(told.append) as take:
            take()
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert told == []
