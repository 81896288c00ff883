"""What is to be fetched: the bucket's listing, with the best digest that is known for each file.

In this order: the facts about the four data sets (``known``), the snapshot listing, the ETag of a
single-part upload, nothing. Not here: how it is fetched, and what is there already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from spectrum.config.paths import nearest
from spectrum.data.download.bucket import Bucket, ListedObject
from spectrum.data.download.config import DownloadRequest, Filters
from spectrum.data.download.digests import Digest, digest_of_etag
from spectrum.data.download.faults import TransferError
from spectrum.data.download.known import KNOWN_DATASETS, KnownFile, known_files
from spectrum.data.download.names import refuse_clashing, refuse_unsafe
from spectrum.data.download.patience import Patience
from spectrum.data.download.selection import check_filters, is_wanted, values_of
from spectrum.data.download.snapshots import Snapshot, SnapshotFile, read_snapshot
from spectrum.data.runs import Problem
from spectrum.errors import ConfigError, DownloadError

__all__ = ["DatasetPlan", "PlannedFile", "check_accessions", "choose_files", "list_dataset"]

_ACCESSION = re.compile(r"^ds[0-9]{6}$")
SNAPSHOT_TRIES: Final = 2
"""The snapshot listing is an extra: without it the bucket still tells ETags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file to fetch, and what it must be."""

    path: str
    key: str
    num_bytes: int
    digest: Digest
    version_id: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPlan:
    """The files of one data set, all or those that are wanted."""

    dataset: str
    files: tuple[PlannedFile, ...]
    refused: tuple[Problem, ...] = ()
    snapshot: str = ""
    notes: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()
    """Paths of all files that the data set has, wanted or not."""

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(file.num_bytes for file in self.files)


def check_accessions(names: Iterable[str]) -> None:
    """Raise ConfigError for a name that cannot be an accession, naming the nearest known one."""
    known = [dataset.name for dataset in KNOWN_DATASETS]
    for name in names:
        if not _ACCESSION.match(name):
            digits = name.removeprefix("ds")
            padded = f"ds{digits:0>6}" if digits.isdigit() else name
            raise ConfigError(
                f"{name} is no OpenNeuro accession, which is ds and six digits. "
                f"The nearest known one is {nearest(padded, known)}."
            )


def list_dataset(
    request: DownloadRequest, name: str, bucket: Bucket, patience: Patience
) -> DatasetPlan:
    """List all files of a data set with what they must be.

    Parameters
    ----------
    request : says where the snapshot listing is
    name : accession
    bucket : listed under the accession's prefix
    patience : for faults that pass

    Raises
    ------
    DownloadError : where there is no such data set, or no listing
    """
    prefix = f"{name}/"
    listed = patience.try_again(lambda: list(bucket.list_objects(prefix)))
    if not listed:
        raise DownloadError(_no_dataset(name, bucket.endpoint_url), code="no-dataset", path=name)
    by_path = {found.key.removeprefix(prefix): found for found in listed}
    snapshot, notes = _find_snapshot(request, name, patience)
    facts = known_files(name)
    refused = refuse_unsafe(by_path)
    unsafe = {problem.path for problem in refused}
    files = [
        _planned(path, found, facts.get(path), snapshot.files.get(path))
        for path, found in by_path.items()
        if path not in unsafe
    ]
    files += [_of_fact(fact) for path, fact in facts.items() if path not in by_path]
    return DatasetPlan(
        dataset=name,
        files=tuple(sorted(files, key=lambda file: file.path)),
        refused=tuple(refused),
        snapshot=snapshot.name,
        notes=notes,
        listed=frozenset(file.path for file in files),
    )


def choose_files(plans: Iterable[DatasetPlan], filters: Filters) -> list[DatasetPlan]:
    """Keep the files that are wanted; raise ConfigError for a filter that fits nothing."""
    given = list(plans)
    values = {plan.dataset: values_of(file.path for file in plan.files) for plan in given}
    check_filters(filters, values)
    return [_chosen(plan, filters, values[plan.dataset]) for plan in given]


def _chosen(
    plan: DatasetPlan, filters: Filters, values: Mapping[str, frozenset[str]]
) -> DatasetPlan:
    wanted = [file for file in plan.files if is_wanted(file.path, filters, values)]
    clashing = refuse_clashing(file.path for file in wanted)
    refused = {problem.path for problem in clashing}
    return DatasetPlan(
        dataset=plan.dataset,
        files=tuple(file for file in wanted if file.path not in refused),
        refused=(*plan.refused, *clashing),
        snapshot=plan.snapshot,
        notes=plan.notes,
        listed=plan.listed,
    )


def _no_dataset(name: str, endpoint_url: str) -> str:
    known = [dataset.name for dataset in KNOWN_DATASETS]
    if name in known:
        return f"{endpoint_url} has no files of {name}. Check --endpoint-url."
    return (
        f"{endpoint_url} has no files of {name}. Check the accession on openneuro.org; "
        f"the nearest one of this project is {nearest(name, known)}."
    )


def _find_snapshot(
    request: DownloadRequest, name: str, patience: Patience
) -> tuple[Snapshot, tuple[str, ...]]:
    url = request.snapshots_url
    if url is None:
        return Snapshot("", {}), ()
    hasty = Patience(
        patience.config.model_copy(update={"max_attempts": SNAPSHOT_TRIES}),
        patience.world,
        patience.meter,
    )
    try:
        timeout_s = patience.config.read_timeout_s
        return hasty.try_again(lambda: read_snapshot(url, name, timeout_s=timeout_s)), ()
    except TransferError as fault:
        note = f"{fault.message} Other files than known ones are held against the bucket's ETags."
        return Snapshot("", {}), (note,)


def _planned(
    path: str, listed: ListedObject, fact: KnownFile | None, told: SnapshotFile | None
) -> PlannedFile:
    if fact is not None:
        return _of_fact(fact)
    if told is not None and told.digest.is_known:
        if told.version_id:
            return PlannedFile(
                path=path,
                key=listed.key,
                num_bytes=told.num_bytes,
                digest=told.digest,
                version_id=told.version_id,
            )
        if told.num_bytes == listed.num_bytes:
            return _of_listing(path, listed, told.digest)
    return _of_listing(path, listed, digest_of_etag(listed.etag))


def _of_fact(fact: KnownFile) -> PlannedFile:
    return PlannedFile(
        path=fact.path,
        key=fact.key,
        num_bytes=fact.num_bytes,
        digest=Digest("md5", fact.md5),
        version_id=fact.version_id,
    )


def _of_listing(path: str, listed: ListedObject, digest: Digest) -> PlannedFile:
    return PlannedFile(
        path=path, key=listed.key, num_bytes=listed.num_bytes, digest=digest, etag=listed.etag
    )
