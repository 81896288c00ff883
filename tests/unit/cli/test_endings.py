"""How a command ends that is asked to: a sentence, and the exit code that shells give it."""

from __future__ import annotations

import os
import signal
import time

import pytest
import typer

from spectrum.cli.console import ending_politely


def interrupt(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_a_sentence_and_128_and_its_number(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as caught, ending_politely("All is kept."):
            interrupt(number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert caught.value.exit_code == 128 + number
    assert capsys.readouterr().err == "spectrum: interrupted. All is kept.\n"


def test_of_two_sentences_the_inner_one_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, ending_politely("Outer."), ending_politely("Inner."):
        interrupt(signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert capsys.readouterr().err == "spectrum: interrupted. Inner.\n"
