"""Signals after which a study is left in order, and the end of a process that cannot.

Not here: what is done in between (``tune_adapters``).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import psutil

__all__ = ["SIGNALS", "leave", "noted_signals"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Slurm sends SIGUSR1 some time before the end of a job that asks for it (``--signal``); SIGHUP
comes when the terminal goes, and is left alone where ``nohup`` had it ignored."""

GRACE_S: Final = 25.0
"""Seconds after a signal in which Ray may end in order; Slurm and Kubernetes wait 30."""


@contextmanager
def noted_signals(note: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Tell the first of ``SIGNALS`` to a callback; a second one has its usual effect.

    Schedulers of clusters signal Ray's own processes too, and then no call to Ray may come back;
    so the process ends by itself after a time. The folder is as good then as after any kill.
    Yields a function that takes the signals again, for when a library has taken one for itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {
        number: handler
        for number, handler in handlers.items()
        if number != signal.SIGHUP or handler is not signal.SIG_IGN
    }
    timers: list[threading.Timer] = []

    def handle(number: int, frame: FrameType | None) -> None:
        note(number)
        signal.signal(number, before[signal.Signals(number)])
        timers.append(threading.Timer(GRACE_S, _leave, [number]))
        timers[-1].daemon = True
        timers[-1].start()

    def take() -> None:
        if not timers:
            for number in before:
                signal.signal(number, handle)

    take()
    try:
        yield take
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(sentence: str, code: int) -> None:
    """End this process, whatever it is at, and all that it started; one sentence is told.

    A Ray that it started goes too; one that it joined has no children here.
    """
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            process.kill()
    # A terminal that is gone takes nothing, which must not keep the process.
    with suppress(OSError):
        os.write(2, f"{sentence}\n".encode())
    os._exit(code)


def _leave(number: int) -> None:
    name = signal.Signals(number).name
    leave(f"Stopped by {name}; Ray did not answer. Continue with --resume.", 128 + number)
