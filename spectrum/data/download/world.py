"""What the fetching takes from outside: clocks, sleep, chance, free disk space, a way to stop."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

__all__ = ["World", "WriteAt"]

WriteAt = Callable[[int, memoryview, int], int]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, kw_only=True)
class World:
    """The outside as functions, so that tests need not wait.

    Parameters
    ----------
    clock : seconds that never go back
    now : the date that is written into ``download.json``
    sleep : waits for some seconds; None waits on ``stopped``, so that a stop ends the wait
    rng : of the back-off's jitter only; no result depends on it
    free_bytes : free bytes of the disk that a folder, which exists, lies on
    write_at : writes bytes of a file descriptor at an offset, as ``os.pwrite``
    stopped : once set, every worker ends after the bytes at hand are noted
    """

    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    sleep: Callable[[float], None] | None = None
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    free_bytes: Callable[[Path], int] = _free_bytes
    write_at: WriteAt = os.pwrite
    stopped: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        """Wait, unless and until everything is to stop."""
        if self.sleep is not None:
            self.sleep(seconds)
        else:
            self.stopped.wait(seconds)
