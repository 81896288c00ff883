"""What goes into a shard set: which runs, from which bytes, under which name.

Not here: how it is made (``pipeline``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spectrum.config import PreprocessingConfig, fingerprint
from spectrum.data.digests import DigestCache
from spectrum.data.events import read_events
from spectrum.data.manifest import Refusal
from spectrum.data.pieces import RunJob, refusal_of, run_job
from spectrum.data.recipe import recipe_fingerprint
from spectrum.data.runs import Event, Run, RunTable
from spectrum.entities import RunKey
from spectrum.errors import SidecarError
from spectrum.targets import Target

__all__ = [
    "Bystander",
    "Digests",
    "Inputs",
    "RefusedRun",
    "cached_digests",
    "measured_digests",
    "select_inputs",
]

UNREADABLE = "unreadable"
"""Stands for the digest of a file that is not there or cannot be read."""

Digests = Mapping[str, tuple[str, ...]]
"""Digests of a job's inputs, by the text of its run's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRun:
    """A run that a set leaves out, and why."""

    key: RunKey
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Bystander:
    """A usable run that a set leaves out; its image may say who the people in the set are."""

    run_key: RunKey
    image_paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.run_key)

    @property
    def input_paths(self) -> tuple[Path, ...]:
        """Files whose bytes decide the result."""
        return self.image_paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The runs that a set is made of, in the order of their keys, and those refused at sight.

    ``bystanders`` are all other usable runs of the table: people are found among all images, so
    that neither target nor recipe decides who is one person.
    """

    recipe: PreprocessingConfig
    jobs: tuple[RunJob, ...]
    refused: tuple[RefusedRun, ...]
    bystanders: tuple[Bystander, ...] = ()

    @property
    def digested(self) -> tuple[RunJob | Bystander, ...]:
        """All whose files decide what the set is."""
        return (*self.jobs, *self.bystanders)

    def without(self, refused: Mapping[str, Refusal]) -> Inputs:
        """Return these inputs with some jobs refused, by name; their images still tell people."""
        gone = [job for job in self.jobs if job.name in refused]
        more = (RefusedRun(key=job.run_key, refusal=refused[job.name]) for job in gone)
        others = (Bystander(run_key=j.run_key, image_paths=j.image_paths) for j in gone)
        return replace(
            self,
            jobs=tuple(job for job in self.jobs if job.name not in refused),
            refused=tuple(sorted((*self.refused, *more), key=lambda run: run.key)),
            bystanders=tuple(sorted((*self.bystanders, *others), key=lambda run: run.run_key)),
        )

    def fingerprint(self, digests: Digests) -> str:
        """Return what names these inputs: keys, bytes, TR, events, refusals and bystanders."""
        runs = [
            [
                job.name,
                job.fingerprint_for(digests[job.name]),
                [asdict(event) for event in job.events],
            ]
            for job in self.jobs
        ]
        refused = [[str(run.key), run.refusal.code] for run in self.refused]
        return fingerprint(
            {
                "recipe": recipe_fingerprint(self.recipe),
                "runs": runs,
                "refused": refused,
                "bystanders": [[other.name, digests[other.name]] for other in self.bystanders],
            }
        )


def select_inputs(
    table: RunTable, recipe: PreprocessingConfig, target: Target | None, folder: Path
) -> Inputs:
    """Choose the runs that a target labels; refuse those without image, TR or readable events.

    Parameters
    ----------
    table : all runs
    recipe : what is done to them
    target : None takes every run
    folder : where workers write their pieces
    """
    jobs: list[RunJob] = []
    refused: list[RefusedRun] = []
    for run in sorted(table.runs, key=lambda run: run.key):
        if target is not None and target.event is None and target.class_of(run.key) is None:
            continue
        try:
            events = read_events(run.events_path) if run.events_path else ()
        except SidecarError as err:
            refusal = refusal_of(err, str(run.events_path))
            refused.append(RefusedRun(key=run.key, refusal=refusal))
            continue
        if target is not None and not _has_class(target, run.key, events):
            continue
        if run.is_usable:
            jobs.append(run_job(run, events, recipe, folder))
        else:
            refused.append(RefusedRun(key=run.key, refusal=_why_unusable(run)))
    taken = {job.name for job in jobs}
    bystanders = (
        Bystander(run_key=run.key, image_paths=run.echo_paths or (run.path,))
        for run in sorted(table.runs, key=lambda run: run.key)
        if run.is_usable and str(run.key) not in taken
    )
    return Inputs(
        recipe=recipe, jobs=tuple(jobs), refused=tuple(refused), bystanders=tuple(bystanders)
    )


def _has_class(target: Target, key: RunKey, events: tuple[Event, ...]) -> bool:
    if target.event is None:
        return True
    return any(target.class_of_event(key, event.trial_type) is not None for event in events)


def _why_unusable(run: Run) -> Refusal:
    for problem in run.problems:
        if problem.refuses:
            return Refusal(code=problem.code, path=problem.path, message=problem.message)
    what = "no readable image" if run.shape is None else "no TR in header or sidecar"
    return Refusal(
        code="missing-image" if run.shape is None else "no-tr",
        path=str(run.path),
        message=f"{run.key} has {what}. Both are needed; complete the data set.",
    )


def cached_digests(
    jobs: Sequence[RunJob | Bystander], cache: DigestCache
) -> dict[str, tuple[str, ...]]:
    """Return the digests of those jobs whose every input is known without reading it."""
    found = {}
    for job in jobs:
        digests = tuple(cache.find(path) for path in job.input_paths)
        if all(digests):
            found[job.name] = tuple(digest or "" for digest in digests)
    return found


def measured_digests(
    jobs: Sequence[RunJob | Bystander], cache: DigestCache
) -> dict[str, tuple[str, ...]]:
    """Return the digests of all jobs, reading files that are not known."""
    return {job.name: tuple(_measure(path, cache) for path in job.input_paths) for job in jobs}


def _measure(path: Path, cache: DigestCache) -> str:
    try:
        return cache.measure(path)
    except OSError:
        return UNREADABLE
