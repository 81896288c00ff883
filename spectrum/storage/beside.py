"""Something that is done again and again beside other work, and never holds it up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from spectrum.errors import SpectrumError

__all__ = ["Beside"]

logger = logging.getLogger(__name__)

TO_END_S: Final = 30.0
"""Seconds for what is being done to end; then the thread is left behind."""


class Beside:
    """Calls something every so often, in a thread that ends with the process.

    Parameters
    ----------
    call : may raise a ``SpectrumError``, which is kept and told by ``trouble``
    every_s : seconds between two calls; None is only when poked
    rest_s : seconds between two calls at least, however often it is poked

    Attributes
    ----------
    trouble : what the last call failed for; "" where it did not
    """

    def __init__(
        self, call: Callable[[], object], *, every_s: float | None, rest_s: float = 0.0
    ) -> None:
        self._call, self._every_s, self._rest_s = call, every_s, rest_s
        self.trouble = ""
        self._wake, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after ``every_s``, or when poked."""
        self._thread.start()

    def poke(self) -> None:
        """Call soon, however long the last call is ago; does not wait for it."""
        self._wake.set()

    def stop(self, timeout_s: float = TO_END_S) -> None:
        """Call no more, and wait for a call that is under way."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            self._wake.wait(self._every_s)
            self._wake.clear()
            if self._ending.is_set():
                return
            self._call_once()
            self._ending.wait(self._rest_s)

    def _call_once(self) -> None:
        try:
            self._call()
            self.trouble = ""
        except (SpectrumError, OSError) as err:
            if not self.trouble:
                logger.warning("%s", err)
            self.trouble = str(err)
