"""Read every image of a run table to its end: what is damaged, and what stands under two names.

Images are read by processes of their own, so that one that ends its reader is named and the rest
goes on. Not here: what makes an image bad (``images``), and what copies mean (``duplicates``).
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from spectrum.data.duplicates import find_copies, people_notes
from spectrum.data.images import read_bold
from spectrum.data.runs import Problem, Run, RunTable
from spectrum.errors import ImageError

__all__ = ["check_images"]

Paths = tuple[Path, ...]
Reader = Callable[[Paths], "Look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What reading the images of one run gave: a digest of their voxels, "" if it failed."""

    digest: str
    problems: tuple[Problem, ...] = ()


def check_images(
    table: RunTable,
    *,
    num_processes: int | None = None,
    on_run_done: Callable[[int, int], None] | None = None,
    reader: Reader | None = None,
) -> RunTable:
    """Return the table with the problems that only whole images show.

    Parameters
    ----------
    table : runs; those without an image are passed on as they are
    num_processes : images read at a time; None is one a CPU
    on_run_done : told runs done and runs in all
    reader : reads the images of one run; None reads them as shards are made from them

    Returns
    -------
    table
        New codes: those of ``images.read_bold``, ``duplicate-image``, ``reader-died``; for no
        run ``same-person``.
    """
    jobs = {run.key: _paths(run) for run in table.runs if run.shape is not None}
    looks: dict[Paths, Look] = {}
    with closing(_looks(list(jobs.values()), reader or _look, num_processes)) as found_looks:
        for paths, look in found_looks:
            looks[paths] = look
            if on_run_done is not None:
                on_run_done(len(looks), len(jobs))
    runs = [
        _with(run, looks[jobs[run.key]].problems) if run.key in jobs else run for run in table.runs
    ]
    sound = {run.key: looks[jobs[run.key]].digest for run in runs if run.is_usable}
    copies = find_copies(sound)
    runs = [_with(run, _copy(run, copies.refused.get(run.key))) for run in runs]
    notes = people_notes((person, group) for group, person in copies.person_of.items())
    people = tuple(Problem(code="same-person", path="", message=note) for note in notes)
    found = (*table.left_out, *people, *(problem for run in runs for problem in run.problems))
    return RunTable(runs=tuple(runs), problems=found)


def _paths(run: Run) -> Paths:
    return run.echo_paths or (run.path,)


def _with(run: Run, problems: Sequence[Problem]) -> Run:
    return replace(run, problems=tuple(dict.fromkeys((*run.problems, *problems))))


def _copy(run: Run, sentence: str | None) -> tuple[Problem, ...]:
    if sentence is None:
        return ()
    path = str(run.path)
    return (Problem(code="duplicate-image", path=path, message=sentence, refuses=True),)


def _look(paths: Paths) -> Look:
    """Read the images of one run."""
    try:
        images = [read_bold(path) for path in paths]
    except ImageError as err:
        problem = Problem(code=err.code, path=err.path, message=err.message, refuses=True)
        return Look(digest="", problems=(problem,))
    odd = (
        Problem(code=finding.code, path=str(path), message=f"{path}: {finding.message}")
        for path, image in zip(paths, images, strict=True)
        for finding in image.findings
        if not finding.is_refusal
    )
    return Look(digest="/".join(image.voxels_sha256 for image in images), problems=tuple(odd))


def _looks(
    jobs: Sequence[Paths], reader: Reader, num_processes: int | None
) -> Generator[tuple[Paths, Look], None, None]:
    """Read in processes; where one died, read alone what was being read, to find out at which.

    What nobody had begun to read goes to new processes.
    """
    waiting = deque(jobs)
    while waiting:
        in_flight: dict[Future[Look], Paths] = {}
        try:
            with _processes(num_processes or os.cpu_count() or 1) as pool:
                yield from _looks_of(pool, waiting, in_flight, reader)
        except BrokenProcessPool:
            for future, job in in_flight.items():
                yield job, future.result() if _is_read(future) else _look_alone(job, reader)


def _looks_of(
    pool: _Pool, waiting: deque[Paths], in_flight: dict[Future[Look], Paths], reader: Reader
) -> Iterator[tuple[Paths, Look]]:
    """Give out no more than there are processes, so that what a death may be of is known."""
    while waiting or in_flight:
        while waiting and len(in_flight) < pool.num_processes:
            in_flight[pool.executor.submit(reader, waiting[0])] = waiting[0]
            waiting.popleft()
        for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
            look = future.result()
            yield in_flight.pop(future), look


def _is_read(future: Future[Look]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


@dataclass(frozen=True, slots=True)
class _Pool:
    """Processes that read, and how many."""

    executor: ProcessPoolExecutor
    num_processes: int


@contextmanager
def _processes(number: int) -> Iterator[_Pool]:
    """Start processes; whatever goes wrong ends them at once, in the midst of what they read."""
    executor = ProcessPoolExecutor(
        number, mp_context=get_context("spawn"), initializer=_leave_interrupts_to_the_parent
    )
    try:
        yield _Pool(executor, number)
    except BaseException:
        # Python 3.14 has kill_workers for this; before, nothing public ends a process that works.
        workers = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.kill()
        raise
    executor.shutdown()


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _look_alone(job: Paths, reader: Reader) -> Look:
    try:
        with _processes(1) as pool:
            return pool.executor.submit(reader, job).result()
    except BrokenProcessPool:
        message = (
            f"The process that read {job[0]} died (out of memory, or a fault in a library). "
            "Fetch the image again; if it is whole, give the machine more memory."
        )
        problem = Problem(code="reader-died", path=str(job[0]), message=message, refuses=True)
        return Look(digest="", problems=(problem,))
