"""Trials on several workers: a warm group of processes that takes one trial after the other.

The workers are children of the process that leads the trial, in the bundles that Tune reserved
for it: they are placed together or not at all, and end with it. An epoch is a question to all of
them, so that a trial is stopped between two epochs as one of a single worker is. A worker that
dies, or does not answer for ``PATIENCE_S``, takes its group with it; a new one goes on from the
trial's last state, at most ``training.max_failures`` times, those that died with their machine not
counted (``losses``). After an error, and when its memory has grown, a group is replaced too. Not
here: what a worker does (``group_worker``), and how many groups there are at a time
(``placement``).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from spectrum.config import TrialConfig
from spectrum.errors import SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.group_worker import GroupWorker, Step
from spectrum.search.losses import Losses, this_node
from spectrum.search.trials import Failure, ObjectiveMaker, TrialEnd

__all__ = ["GroupObjective", "TrialFailedError", "WorkerGroup", "is_worn"]

PATIENCE_S: Final = 60.0
"""Seconds for which a worker may not answer before it counts as lost."""

TO_START_S: Final = 300.0
"""Seconds for all workers of a group to start: processes, imports, the process group."""

GRACE_S: Final = 5.0
"""Seconds, after the first worker told of an error, for the others to tell theirs."""

LOOK_S: Final = 1.0
"""Seconds between two looks at whether workers answer."""

MAX_TRIALS: Final = 200
"""Trials after which a group is replaced, whatever its memory."""

SPARE_BYTES: Final = 2**30
"""Bytes that a worker may grow by over its first trial, or by half if that is more."""


class TrialFailedError(SearchError):
    """A trial ended on its workers, for a cause that is known there.

    Parameters
    ----------
    failure : the cause
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _LostError(Exception):
    """A worker died, or did not answer."""


def is_worn(first_bytes: int, now_bytes: int, num_trials: int) -> bool:
    """Return whether a group is to be replaced.

    Parameters
    ----------
    first_bytes, now_bytes : memory of its largest worker, after its first trial and now
    num_trials : that it has run
    """
    allowed = first_bytes + max(SPARE_BYTES, first_bytes // 2)
    return num_trials >= MAX_TRIALS or now_bytes > allowed


class GroupObjective:
    """Runs trials of several workers one after the other, on a group that it keeps.

    Parameters
    ----------
    make_objective : of each worker; called with ``rank``
    patience_s : seconds for which a worker may not answer
    gpus : of each worker
    epoch_s : seconds that an epoch but a trial's first may take in a worker
    count_losses : begins to count the losses of a trial that may lose its group so many times
    """

    def __init__(
        self,
        make_objective: ObjectiveMaker,
        *,
        gpus: float = 0.0,
        patience_s: float = PATIENCE_S,
        epoch_s: float | None = None,
        count_losses: Callable[[int], Losses] = lambda most: Losses(most, here=this_node()),
    ) -> None:
        self._make_objective, self._count_losses = make_objective, count_losses
        self._gpus, self._patience_s, self._epoch_s = gpus, patience_s, epoch_s
        self._group: WorkerGroup | None = None

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        """Run one trial; yield a record after each epoch, whatever befalls the workers."""
        causes, losses = list[str](), self._count_losses(config.training.max_failures)
        num_told, end = 0, TrialEnd(folds=())
        while True:
            try:
                with closing(self._attempt(number, config, num_told, losses)) as steps:
                    for record, told_end in steps:
                        num_told += 1
                        end = told_end or end
                        yield record
                return _with_losses(end, number, causes)
            except _LostError as err:
                causes.append(str(err))
                losses.add(str(err))
                while (then := losses.next) == "wait":
                    time.sleep(LOOK_S)
                if then == "fail":
                    raise TrialFailedError(_lost(causes, losses)) from err

    def close(self) -> None:
        """End the workers."""
        if self._group is not None:
            self._group.kill()
            self._group = None

    def _attempt(
        self, number: int, config: TrialConfig, num_told: int, losses: Losses
    ) -> Generator[tuple[TrialEpochRecord, TrialEnd | None], None, None]:
        """Run a trial from its last state; leave out the records that were told before."""
        is_whole = False
        try:
            losses.begin()
            group = self._ready_group(config.training.workers)
            losses.begin(group.nodes)
            group.begin(number, config)
            for index in itertools.count():
                is_whole = False
                step = group.advance()
                is_whole = True
                if index >= num_told and step.record is not None:
                    yield step.record, step.end
                if step.is_over or step.end is not None:
                    return
        finally:
            self._part(is_whole)

    def _ready_group(self, num_workers: int) -> WorkerGroup:
        if self._group is None or self._group.num_workers != num_workers:
            self.close()
            self._group = WorkerGroup(
                self._make_objective,
                num_workers,
                gpus=self._gpus,
                patience_s=self._patience_s,
                epoch_s=self._epoch_s,
            )
            self._group.start()
        return self._group

    def _part(self, is_whole: bool) -> None:
        """Let the group go on to the next trial, or end it; one in mid epoch cannot go on."""
        with suppress(_LostError):
            if is_whole and self._group is not None and not self._group.leave():
                return
        self.close()


class WorkerGroup:
    """Processes that run a trial together, in the placement group of this process.

    Parameters
    ----------
    num_workers : >= 2
    gpus : of each worker
    patience_s : seconds for which a worker may not answer
    epoch_s : seconds that an epoch but a trial's first may take in a worker
    """

    def __init__(
        self,
        make_objective: ObjectiveMaker,
        num_workers: int,
        *,
        gpus: float,
        patience_s: float,
        epoch_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_workers = num_workers
        self._patience_s, self._clock = patience_s, clock
        self._workers = [
            _actor(gpus, rank, num_workers).remote(
                make_objective, rank=rank, num_workers=num_workers, epoch_s=epoch_s
            )
            for rank in range(num_workers)
        ]
        self.nodes: list[str] = []
        self._asked: dict[int, tuple[Any, float]] = {}
        self._first_bytes = self._num_trials = 0

    def start(self) -> None:
        """Start the processes and their process group.

        Raises
        ------
        _LostError
            Where one dies, or they do not start in time.
        """
        workers = self._workers
        try:
            address = ray.get(workers[0].offer.remote(), timeout=TO_START_S)
            joined = [worker.join.remote(address) for worker in workers]
            self.nodes = ray.get(joined, timeout=TO_START_S)
        except GetTimeoutError as err:
            raise _LostError(f"the workers did not start in {TO_START_S:g} s") from err
        except RayError as err:
            raise _LostError(f"a worker died while it started ({_short(err)})") from err

    def begin(self, number: int, config: TrialConfig) -> None:
        """Give a trial to all workers."""
        for worker in self._workers:
            worker.begin.remote(number, config)

    def advance(self) -> Step:
        """Run one epoch on all workers; return what the first one tells.

        Raises
        ------
        _LostError
            Where a worker died or does not answer.
        TrialFailedError
            Where one met an error; the others may still be waiting for it.
        """
        answers: list[Step] = self._ask([worker.advance.remote() for worker in self._workers])
        failures = [answer.failure for answer in answers if answer.failure is not None]
        if failures:
            raise TrialFailedError(failures[0])
        return next((answer for answer in answers if answer.record is not None), answers[0])

    def leave(self) -> bool:
        """Have the workers give back what the trial holds; return whether they are worn."""
        sizes: list[int] = self._ask([worker.leave.remote() for worker in self._workers])
        self._num_trials += 1
        self._first_bytes = self._first_bytes or max(sizes)
        return is_worn(self._first_bytes, max(sizes), self._num_trials)

    def kill(self) -> None:
        """End the processes, whatever they are at."""
        for worker in self._workers:
            ray.kill(worker)

    def _ask(self, questions: Sequence[Any]) -> list[Any]:
        """Return the answers of all workers, or after an error those that came in time."""
        answers, left = [], list(questions)
        until: float | None = None
        while left and (until is None or self._clock() < until):
            done, left = ray.wait(left, num_returns=1, timeout=LOOK_S)
            for question in done:
                answers.append(answer := _answer(question))
                if isinstance(answer, Step) and answer.failure is not None and until is None:
                    until = self._clock() + GRACE_S
            if not done:
                self._check_all_answer()
        return answers

    def _check_all_answer(self) -> None:
        """Raise where a worker did not answer for too long, whatever else it is at."""
        for rank, worker in enumerate(self._workers):
            if rank in self._asked:
                question, since = self._asked[rank]
                if not ray.wait([question], timeout=0)[0]:
                    if self._clock() - since > self._patience_s:
                        raise _LostError(
                            f"worker {rank} did not answer for {self._patience_s:g} s"
                        )
                    continue
                _answer(question)
            self._asked[rank] = (worker.process.remote(), self._clock())


def _actor(gpus: float, rank: int, num_workers: int) -> Any:
    """Return the actor class of one worker, in its bundle where there are bundles."""
    group = ray.util.get_current_placement_group()
    strategy = group and PlacementGroupSchedulingStrategy(
        # The bundle of the leader, where it has one, comes first.
        placement_group=group,
        placement_group_bundle_index=rank + group.bundle_count - num_workers,
    )
    return ray.remote(concurrency_groups={"health": 1})(GroupWorker).options(
        num_cpus=1, num_gpus=gpus, scheduling_strategy=strategy
    )


def _answer(question: Any) -> Any:
    try:
        return ray.get(question)
    except RayError as err:
        raise _LostError(f"a worker died ({_short(err)})") from err


def _short(err: Exception) -> str:
    """Return the first line of an error, or its name where it says nothing."""
    return next(iter(str(err).strip().splitlines()), type(err).__name__)


def _lost(causes: Sequence[str], losses: Losses) -> Failure:
    return Failure(
        kind="WorkerLost",
        message=f"Workers of the trial were lost {_times(causes)}, the last time because "
        f"{causes[-1]}. {losses} Look for kills from outside, want of memory, and "
        "epochs longer than study.epoch_minutes where that is set; "
        "training.max_failures is how often a trial begins again from its last epoch.",
    )


def _times(causes: Sequence[str]) -> str:
    return "once" if len(causes) == 1 else f"{len(causes)} times"


def _with_losses(end: TrialEnd, number: int, causes: Sequence[str]) -> TrialEnd:
    if not causes:
        return end
    note = (
        f"Trial {number} lost its workers {_times(causes)} and went on from its last epoch: "
        f"{'; '.join(causes)}."
    )
    return replace(end, notes=(*end.notes, note))
