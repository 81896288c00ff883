"""A whole download, a plan of one, a check of what is there: from a request to a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from spectrum.data.download.bucket import Bucket
from spectrum.data.download.config import DownloadRequest
from spectrum.data.download.crew import Crew
from spectrum.data.download.disk import check_space, first_existing, wanted_bytes
from spectrum.data.download.lock import locked
from spectrum.data.download.meter import Meter
from spectrum.data.download.names import STATE_FOLDER
from spectrum.data.download.patience import Patience
from spectrum.data.download.plan import (
    DatasetPlan,
    check_accessions,
    choose_files,
    list_dataset,
)
from spectrum.data.download.report import FileRecord, read_records, write_report
from spectrum.data.download.steps import Site
from spectrum.data.download.transfer import Source
from spectrum.data.download.verification import verify_folder
from spectrum.data.download.wanted import forget_wanted, not_arrived, write_wanted
from spectrum.data.download.world import World
from spectrum.data.runs import Problem

__all__ = ["DownloadResult", "Planned", "download", "plan_download", "verify"]

OnProgress = Callable[[int, int], None]
WRONG: Final = frozenset({"differs", "unreadable", "unsafe-name"})
"""Problems of what is there; after any other one an earlier file stays what it was."""
LISTING_TRIES: Final = 3
LISTING_S: Final = 20.0
"""Seconds after which a listing is not tried again: where nothing answers, a user should read so
within a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """What became of a request.

    Parameters
    ----------
    roots : folder of each data set
    records : of all files that are there and were asked for
    fetched_bytes : that came over the network, those fetched twice included
    num_retries : tries after a fault that passed
    refused : files that are not there, or are there and wrong
    notes : sentences that a user should read
    seconds : wall time
    """

    roots: tuple[Path, ...]
    records: tuple[FileRecord, ...]
    fetched_bytes: int
    num_retries: int
    refused: tuple[Problem, ...]
    notes: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return what ``spectrum download --json`` prints."""
        return {
            "roots": [str(root) for root in self.roots],
            "num_files": len(self.records),
            "num_bytes": sum(record.bytes for record in self.records),
            "fetched_bytes": self.fetched_bytes,
            "verified_by": dict(
                Counter(r.digest_kind for r in self.records if r.digest_kind != "none")
            ),
            "unverified": [r.path for r in self.records if r.status == "unverified"],
            "refused": [asdict(problem) for problem in self.refused],
            "num_retries": self.num_retries,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a request comes to, before anything is fetched."""

    plans: tuple[DatasetPlan, ...]
    free_bytes: int

    @property
    def num_files(self) -> int:
        """Of all data sets."""
        return sum(len(plan.files) for plan in self.plans)

    @property
    def num_bytes(self) -> int:
        """Of all data sets."""
        return sum(plan.num_bytes for plan in self.plans)

    def as_json(self, request: DownloadRequest) -> dict[str, Any]:
        """Return what ``spectrum download --dry-run --json`` prints."""
        return {
            "roots": [str(request.out / plan.dataset) for plan in self.plans],
            "num_files": self.num_files,
            "num_bytes": self.num_bytes,
            "fetched_bytes": 0,
            "wanted_bytes": wanted_bytes(request, self.plans),
            "free_bytes": self.free_bytes,
            "unverified": [
                file.path for plan in self.plans for file in plan.files if not file.digest.is_known
            ],
            "refused": [asdict(problem) for plan in self.plans for problem in plan.refused],
            "notes": [note for plan in self.plans for note in plan.notes],
        }


def plan_download(request: DownloadRequest, *, world: World) -> Planned:
    """List what would be fetched; nothing is written.

    Raises
    ------
    ConfigError : for a name that is no accession, or a filter that fits nothing
    DownloadError : where there is no listing
    """
    bucket = Bucket(request.endpoint_url, request.fetch)
    return _planned(request, bucket, world, Meter())


def download(request: DownloadRequest, *, world: World, on_progress: OnProgress) -> DownloadResult:
    """Fetch data sets into ``<out>/<dataset>``; files that fail are named, the others go on.

    Parameters
    ----------
    request : what, from where, to where
    world : clocks, sleep, chance, free space
    on_progress : takes bytes that are done and the total

    Raises
    ------
    ConfigError : for a name that is no accession, or a filter that fits nothing
    DownloadError : where nothing can go on: no listing, no disk space, a locked folder
    """
    begun_s, meter = world.clock(), Meter()
    source = Source(Bucket(request.endpoint_url, request.fetch), request.fetch, world, meter)
    planned = _planned(request, source.bucket, world, meter)
    check_space(request, planned.plans, planned.free_bytes)
    total = planned.num_bytes
    records: list[FileRecord] = []
    problems: list[Problem] = []

    def show() -> None:
        on_progress(min(meter.received_bytes + meter.kept_bytes, total), total)

    for plan in planned.plans:
        with _crew_at(request, plan, source, show) as crew:
            crew.fetch(plan.files)
        records += crew.records
        problems += [*plan.refused, *crew.problems]
    return DownloadResult(
        roots=tuple(request.out / plan.dataset for plan in planned.plans),
        records=tuple(records),
        fetched_bytes=meter.received_bytes,
        num_retries=meter.num_retries,
        refused=tuple(problems),
        notes=tuple(note for plan in planned.plans for note in plan.notes),
        seconds=world.clock() - begun_s,
    )


def verify(request: DownloadRequest, *, world: World, on_progress: OnProgress) -> DownloadResult:
    """Hold what is there against what is known of it; nothing is fetched or written."""
    begun_s = world.clock()
    check_accessions(request.datasets)
    roots = tuple(request.out / name for name in request.datasets)
    checked = [_verified(root, request, on_progress) for root in roots]
    return DownloadResult(
        roots=roots,
        records=tuple(record for records, _ in checked for record in records),
        fetched_bytes=0,
        num_retries=0,
        refused=tuple(problem for _, problems in checked for problem in problems),
        notes=(),
        seconds=world.clock() - begun_s,
    )


def _verified(
    root: Path, request: DownloadRequest, on_progress: OnProgress
) -> tuple[list[FileRecord], list[Problem]]:
    """Verify a folder; one that a download is at work in is not looked at."""
    state = root / STATE_FOLDER
    with locked(state) if state.is_dir() else nullcontext():
        records, problems = verify_folder(root, request, on_progress)
        checked = {record.path for record in records} | {problem.path for problem in problems}
        settled = checked | read_records(root).keys()
        return records, [*problems, *not_arrived(root, settled, request.filters)]


def _planned(request: DownloadRequest, bucket: Bucket, world: World, meter: Meter) -> Planned:
    check_accessions(request.datasets)
    tries = min(LISTING_TRIES, request.fetch.max_attempts)
    patience = Patience(
        request.fetch.model_copy(update={"max_attempts": tries}), world, meter, LISTING_S
    )
    names = dict.fromkeys(request.datasets)
    listed = [list_dataset(request, name, bucket, patience) for name in names]
    return Planned(
        plans=tuple(choose_files(listed, request.filters)),
        free_bytes=world.free_bytes(first_existing(request.out)),
    )


@contextmanager
def _crew_at(
    request: DownloadRequest, plan: DatasetPlan, source: Source, show: Callable[[], None]
) -> Iterator[Crew]:
    """Lock a data set's folder, and write its report however the fetching ends."""
    root = request.out / plan.dataset
    with locked(root / STATE_FOLDER):
        earlier = read_records(root)
        site = Site(
            root=root,
            state_folder=root / STATE_FOLDER,
            records=earlier,
            force=request.force,
        )
        crew = Crew(source, site, show)
        write_wanted(root, [file.path for file in plan.files], listed=plan.listed)
        try:
            yield crew
        finally:
            _report(request, plan, crew, earlier)


def _report(
    request: DownloadRequest, plan: DatasetPlan, crew: Crew, earlier: dict[str, FileRecord]
) -> None:
    """Tell what is there and not known to be wrong; only that is no longer waited for."""
    root, now = crew.site.root, crew.source.world.now()
    wrong = {problem.path for problem in crew.problems if problem.code in WRONG}
    kept = {p: r for p, r in earlier.items() if p not in wrong and (root / p).is_file()}
    fresh = {record.path: record for record in crew.records}
    write_report(
        root,
        {**kept, **fresh}.values(),
        [*plan.refused, *crew.problems],
        request=request,
        plan=plan,
        date=now.isoformat(timespec="seconds"),
    )
    forget_wanted(root, {*kept, *fresh})
