"""One of the processes that run a trial together, an epoch a call, one trial after the other.

Not here: who starts them, asks them and gives up on them (``worker_group``).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from dataclasses import dataclass

import psutil
import ray

from spectrum.config import TrialConfig
from spectrum.records import TrialEpochRecord
from spectrum.search.losses import this_node
from spectrum.search.overdue import ended_after
from spectrum.search.trials import Failure, Objective, ObjectiveMaker, TrialEnd, end_of, failure_of
from spectrum.training.process_group import Address, Store, join_process_group, open_store

__all__ = ["GroupWorker", "Step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a worker answers after an epoch: the first one its record, or why there is none.

    ``is_over`` is a trial that ended without a result.
    """

    record: TrialEpochRecord | None = None
    end: TrialEnd | None = None
    failure: Failure | None = None
    is_over: bool = False


class GroupWorker:
    """Runs its part of one trial after the other; the process group stays up between them.

    Parameters
    ----------
    rank : among the workers, from 0; the first one tells the records
    epoch_s : seconds that an epoch but a trial's first may take here, before this process ends
        itself; None is as long as it takes
    """

    def __init__(
        self,
        make_objective: ObjectiveMaker,
        *,
        rank: int,
        num_workers: int,
        epoch_s: float | None = None,
    ) -> None:
        self._make_objective, self._epoch_s = make_objective, epoch_s
        self._rank, self._num_workers = rank, num_workers
        self._store: Store | None = None
        self._objective: Objective | None = None
        self._epochs: Generator[TrialEpochRecord, None, TrialEnd] | None = None

    def offer(self) -> Address:
        """Open the store at which the workers meet, and tell where it is; for the first one."""
        self._store, address = open_store(self._num_workers)
        return address

    def join(self, address: Address) -> str:
        """Join the process group; return this machine when all workers have."""
        join_process_group(
            address,
            rank=self._rank,
            num_workers=self._num_workers,
            store=self._store,
        )
        return this_node()

    def begin(self, number: int, config: TrialConfig) -> None:
        """Take a trial; nothing of it is done yet."""
        self._trial = (number, config)
        self._epochs = None

    def advance(self) -> Step:
        """Run one epoch; an error is an answer, so that the process can be asked again."""
        try:
            step = self._advance()
        except Exception as err:
            return Step(failure=failure_of(err))
        return step if self._rank == 0 else Step(is_over=step.is_over)

    def leave(self) -> int:
        """Give back what the trial holds; return the bytes of memory of this process."""
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    @ray.method(concurrency_group="health")  # type: ignore[untyped-decorator]
    def process(self) -> int:
        """Return the number of this process, whatever else it is at."""
        return os.getpid()

    def _advance(self) -> Step:
        epoch_s = self._epoch_s
        if self._epochs is None:
            self._objective = self._objective or self._make_objective()
            self._epochs, epoch_s = self._objective(*self._trial, rank=self._rank), None
        with ended_after(epoch_s):
            record = next(self._epochs, None)
        if record is None:
            return Step(is_over=True)
        return Step(record=record, end=end_of(self._epochs) if record.finished else None)
