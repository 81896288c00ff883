"""A mirror that is pushed beside other work, and once more in the end."""

from __future__ import annotations

import threading
import time
from typing import Final

from spectrum.errors import StorageError
from spectrum.storage.beside import Beside
from spectrum.storage.mirror import Mirror
from spectrum.storage.objects import ObjectStore

__all__ = ["Following"]

PUSHED_EVERY_S: Final = 10.0
"""Seconds of work that a machine which is lost takes with it, and what an upload takes."""

REST_S: Final = 1.0
"""Seconds between two pushes at least: an epoch may be shorter."""

BRIEF_S: Final = 5.0
"""Seconds for which a push beside other work asks; the next one asks again."""


class Following:
    """Pushes a folder every few seconds; a store that is away holds nothing up.

    Parameters
    ----------
    mirror : nobody else pushes it meanwhile
    every_s : seconds between two pushes; None is only when poked

    Attributes
    ----------
    taken_s : what was written before this moment of the monotonic clock is stored
    """

    def __init__(self, mirror: Mirror, *, every_s: float | None = PUSHED_EVERY_S) -> None:
        self._mirror = mirror
        self._pushing = threading.Lock()
        self._store = mirror.store
        self.taken_s = 0.0
        self._beside = Beside(self._push_briefly, every_s=every_s, rest_s=REST_S)

    def start(self) -> None:
        """Begin to push."""
        self._beside.start()

    def poke(self) -> None:
        """Push soon; does not wait for it."""
        self._beside.poke()

    def stop(self) -> None:
        """Push no more; what the pushes so far did not take stays here."""
        self._beside.stop()

    def close(self, *, patience_s: float) -> str:
        """Push what is left; return why that could not be done, or "".

        Parameters
        ----------
        patience_s : seconds for which the store may be away
        """
        self._beside.stop()
        try:
            self._push(self._store.with_patience(patience_s))
        except (StorageError, OSError) as err:
            return str(err)
        return ""

    def _push_briefly(self) -> None:
        self._push(self._store.with_patience(BRIEF_S))

    def _push(self, store: ObjectStore) -> None:
        with self._pushing:
            self._mirror.store = store
            begun_s = time.monotonic()
            self._mirror.push()
            self.taken_s = begun_s
