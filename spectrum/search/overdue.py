"""An end for a process that stands still, whatever it stands in.

Not here: what becomes of its trial (``losses``).
"""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ended_after"]


@contextmanager
def ended_after(seconds: float | None) -> Iterator[None]:
    """End this process with exit code 1 where the body takes longer.

    The stack of each thread is written to stderr before. A thread of ``faulthandler`` does it,
    which needs neither Python's lock nor a main thread that takes signals: who waits for a disk
    or a GPU may hold either. There is one such thread a process.

    Parameters
    ----------
    seconds : None is no end
    """
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
