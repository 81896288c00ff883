"""One writer at a time: who works on what a store holds says so there, again and again.

A store has no locks that end with their holder. A lease is renewed while its holder lives; one
that is not renewed for a while counts for nothing. Clocks of machines are not compared: whoever
finds a lease watches whether it changes.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from spectrum.config.files import parse_json
from spectrum.errors import StorageError
from spectrum.storage.beside import Beside
from spectrum.storage.objects import ObjectStore

__all__ = ["Lease"]

LEASE_NAME: Final = "lease.json"
MAX_BYTES: Final = 2**16

RENEWED_EVERY_S: Final = 10.0
WATCHED_S: Final = 35.0
"""Seconds without a change after which a lease is nobody's: three renewals that did not come."""

LOOK_S: Final = 1.0

SETTLED_S: Final = 0.5
"""Seconds after which who wrote at the same moment has written."""

BRIEF_S: Final = 5.0
"""Seconds for which a renewal asks; the next one asks again."""


class Lease:
    """The right to write below an address.

    Parameters
    ----------
    store : its ``lease.json`` is the lease
    place : tells this working copy from others; who finds its own lease takes it over, as a lock
        of this machine says that its earlier holder is gone
    watched_s : seconds without a change after which another's lease is nobody's
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        place: str,
        watched_s: float = WATCHED_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._place, self._watched_s = (
            store,
            f"{socket.gethostname()} {place}",
            watched_s,
        )
        self._clock, self._sleep = clock, sleep
        self._token = uuid.uuid4().hex
        self._num_renewed = 0
        # Token of a lease that was watched and not renewed.
        self._dead = ""

    @contextmanager
    def held(self, *, waits: bool = False) -> Iterator[None]:
        """Hold the lease, renewed beside what is done meanwhile.

        Parameters
        ----------
        waits : whether another holder is waited for, however long; without, it is an error

        Raises
        ------
        StorageError
            Another works there.
        """
        self._take(waits=waits)
        renewing = Beside(self._renew, every_s=RENEWED_EVERY_S)
        renewing.start()
        try:
            yield
        finally:
            renewing.stop()
            self._give_back()

    def check(self) -> None:
        """Raise StorageError where another has taken the lease, as of a holder that was gone."""
        told = self._another(self._store.with_patience(BRIEF_S))
        if told is not None:
            raise StorageError(
                f"Another search has taken over {self._store.address} "
                f"({told.get('place', '?')}, since {told.get('since', '?')}) while this one was "
                "not heard of. End this one, and go on there."
            )

    def holder(self) -> str | None:
        """Return who else has the lease, alive or not, and since when; None where nobody."""
        told = self._another(self._store)
        return (
            None if told is None else f"{told.get('place', '?')}, since {told.get('since', '?')}"
        )

    def _take(self, *, waits: bool) -> None:
        while True:
            self._wait_for_others(waits=waits)
            self._write(self._store)
            # Of two that found nobody at the same moment, the later one has it.
            self._sleep(SETTLED_S)
            if self._another(self._store) is None:
                return

    def _wait_for_others(self, *, waits: bool) -> None:
        while (told := self._another(self._store)) is not None:
            if self._is_renewed(told) and not waits:
                raise StorageError(
                    f"Another search works on {self._store.address} ({told.get('place', '?')}, "
                    f"since {told.get('since', '?')}). Wait for it, or give this one another name."
                )

    def _another(self, store: ObjectStore) -> dict[str, Any] | None:
        """Return what another place's lease says; None where there is none, or a damaged one."""
        content = store.get(LEASE_NAME, max_bytes=MAX_BYTES)
        if content is None:
            return None
        try:
            told: dict[str, Any] = parse_json(content)
            is_ours = told["token"] == self._token or told["place"] == self._place
        except (ValueError, KeyError, TypeError):
            return None
        return None if is_ours or told.get("token") == self._dead else told

    def _is_renewed(self, told: dict[str, Any]) -> bool:
        """Watch a lease; return whether its holder lives, or gave it back or to another."""
        until = self._clock() + self._watched_s
        while self._clock() < until:
            self._sleep(LOOK_S)
            now = self._another(self._store)
            if now is None:
                return False
            if now != told:
                return True
        self._dead = str(told["token"])
        return False

    def _renew(self) -> None:
        brief = self._store.with_patience(BRIEF_S)
        if self._another(brief) is None:
            self._write(brief)

    def _write(self, store: ObjectStore) -> None:
        self._num_renewed += 1
        told = {
            "token": self._token,
            "place": self._place,
            "process": os.getpid(),
            "renewed": self._num_renewed,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        store.put(LEASE_NAME, json.dumps(told).encode())

    def _give_back(self) -> None:
        brief = self._store.with_patience(BRIEF_S)
        try:
            if self._another(brief) is None:
                brief.remove(LEASE_NAME)
        except StorageError:
            # It counts for nothing in a while.
            return
