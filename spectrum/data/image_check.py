"""Read every image of a run table to its end: what is damaged, and what stands under two names.

Images are read by processes of their own, so that one that ends its reader is named and the rest
goes on. Not here: what makes an image bad (``images``), and what copies mean (``duplicates``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
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
    for paths, look in _looks(list(jobs.values()), reader or _look, num_processes):
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
) -> Iterator[tuple[Paths, Look]]:
    """Read in processes; where one died, read what is left one by one to find out at which."""
    done: set[Paths] = set()
    try:
        with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
            futures: dict[Future[Look], Paths] = {pool.submit(reader, job): job for job in jobs}
            for future in as_completed(futures):
                look = future.result()
                done.add(futures[future])
                yield futures[future], look
    except BrokenProcessPool:
        for job in jobs:
            if job not in done:
                yield job, _look_alone(job, reader)


def _look_alone(job: Paths, reader: Reader) -> Look:
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(reader, job).result()
    except BrokenProcessPool:
        message = (
            f"The process that read {job[0]} died (out of memory, or a fault in a library). "
            "Fetch the image again; if it is whole, give the machine more memory."
        )
        problem = Problem(code="reader-died", path=str(job[0]), message=message, refuses=True)
        return Look(digest="", problems=(problem,))
