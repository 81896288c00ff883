"""One session of a search between Ray Tune and the study's driver: errors, signals, lost trials.

Not here: Tune's own classes (``tune_adapters``), and whether a lost trial begins again
(``losses``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from spectrum.errors import SearchError
from spectrum.search.driver import StudyDriver
from spectrum.search.losses import Losses, LostTrials, this_node
from spectrum.search.status import StudyStatus
from spectrum.search.trials import DISK_FULL, Failure
from spectrum.search.turns import Turns

__all__ = ["TuneSession"]

RETRIES_OF_LOST_WORKER: Final = 1
"""Times that a trial begins again after its worker process died while its machine lived on; errors
inside a trial are final."""

_LOST: Final = (
    "The worker process of the trial died; where nothing else is said, for want of memory or by a "
    "kill from outside. {counts} The last time: {words}"
)


class TuneSession:
    """Keeps the first error of the driver, and a signal; either stops Tune at its next turn.

    Parameters
    ----------
    driver : of the study
    on_progress, on_status : told after each end, and each epoch
    are_mixed : whether trials have several numbers of workers
    epoch_minutes : after which a process ends itself (``overdue``), so that its death is told so
    clock : seconds, monotonic
    """

    def __init__(
        self,
        driver: StudyDriver,
        on_progress: Callable[[int, int], None] | None,
        on_status: Callable[[StudyStatus], None] | None,
        *,
        are_mixed: bool,
        epoch_minutes: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.driver = driver
        self._epoch_minutes, self._clock = epoch_minutes, clock
        self._heard: dict[int, float] = {}
        self.turns = Turns(are_mixed=are_mixed)
        here = this_node()
        self.lost = LostTrials(lambda: Losses(RETRIES_OF_LOST_WORKER, here=here))
        self.last_words: dict[int, str] = {}
        self.error: Exception | None = None
        self.signal: int | None = None
        self.take_signals: Callable[[], None] = lambda: None
        self._on_progress, self._on_status = on_progress, on_status

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to begin."""
        return bool(self.error or self.signal or self.driver.fatal)

    def call(self, action: Callable[[], Any], default: Any = None) -> Any:
        """Do something with the driver; an error is kept and ends the session."""
        if self.error is not None:
            return default
        try:
            return action()
        except Exception as err:
            self.error = err
            return default

    def begin(self, number: int) -> None:
        """Take it that a trial begins, or begins again."""
        self._heard.pop(number, None)
        self.turns.begin(number)
        self.lost.begin(number)
        self.driver.start(number)

    def hear(self, number: int) -> None:
        """Note that an epoch of a trial has come."""
        self._heard[number] = self._clock()

    def fail(self, number: int, failure: Failure) -> None:
        """Take the cause for which a trial ends.

        Raises
        ------
        SearchError
            It is the disk's. The others would fail of it one after the other, so the session ends
            here, and this trial has not ended.
        """
        if failure.kind == DISK_FULL:
            raise SearchError(
                f"Trial {number} could not write: {failure.message}. It has not failed, and goes "
                "on from its last epoch: make room there, and continue with --resume."
            )
        self.driver.fail(number, failure)

    def finish(self, number: int) -> None:
        """End a trial, with what the driver was told of it."""
        self.turns.end(number)
        self.driver.finish(number)
        self.lost.end(number)
        self.last_words.pop(number, None)
        self._heard.pop(number, None)
        self.tell_progress()

    def lose(self, number: int) -> None:
        """Take it that the process of a trial died."""
        self.turns.end(number)
        words = self.last_words.get(number, "")
        self.last_words[number] = self._overdue(number) or words
        self.lost.add(number, words)
        self.settle()

    def settle(self) -> None:
        """End lost trials that do not begin again."""
        for number, counts in self.lost.settle():
            message = _LOST.format(counts=counts, words=self.last_words.get(number, ""))
            self.driver.fail(number, Failure(kind="WorkerLost", message=message))
            self.finish(number)

    def tell_progress(self) -> None:
        """Tell the trials that are done, and what the search is doing."""
        if self._on_progress is not None:
            self._on_progress(*self.driver.progress)
        self.tell_status()

    def tell_status(self) -> None:
        """Tell what the search is doing."""
        if self._on_status is not None:
            self._on_status(self.driver.status)

    def _overdue(self, number: int) -> str:
        """Return that the process of a trial was ended for an epoch that took too long, or ""."""
        if self._epoch_minutes is None or number not in self._heard:
            return ""
        if self._clock() - self._heard[number] < 60.0 * self._epoch_minutes:
            return ""
        return (
            f"an epoch took longer than study.epoch_minutes, {self._epoch_minutes:g}, so that the "
            "process was ended; where it stood is in its log, below Ray's logs on its machine."
        )
