"""Waits for what other processes do, with a limit that says what never came."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 180.0


def wait_until(holds: Callable[[], bool], what: str, *, limit_s: float = LIMIT_S) -> None:
    """Look again and again until something holds."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)
