"""What lies in a folder, held against what is known of it: the facts, and ``download.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spectrum.data.download.config import DownloadRequest
from spectrum.data.download.digests import Digest, digest_of
from spectrum.data.download.known import known_files
from spectrum.data.download.names import refuse_unsafe
from spectrum.data.download.placing import check_way
from spectrum.data.download.report import FileRecord, read_records, record_of
from spectrum.data.download.selection import check_filters, is_wanted, values_of
from spectrum.data.runs import Problem
from spectrum.errors import DownloadError

__all__ = ["verify_folder"]


def verify_folder(
    root: Path, request: DownloadRequest, on_progress: Callable[[int, int], None]
) -> tuple[list[FileRecord], list[Problem]]:
    """Check every file that a report names, or, without one, every known image.

    Parameters
    ----------
    root : of the data set
    request : its filters choose the files
    on_progress : takes bytes that are done and the total

    Returns
    -------
    records : of files that are right
    problems : codes ``missing``, ``wrong-size``, ``wrong-bytes``, ``unsafe-name``, ``unreadable``

    Raises
    ------
    DownloadError : code ``nothing-to-verify``, where nothing is known of the folder
    """
    expected = _expected(root, request)
    total, done = sum(record.bytes for record in expected.values()), 0
    records, problems = [], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for record, problem in pool.map(lambda r: _check(root, r), expected.values()):
            records += [] if problem else [record]
            problems += [problem] if problem else []
            done += record.bytes
            on_progress(done, total)
    return records, problems


def _expected(root: Path, request: DownloadRequest) -> Mapping[str, FileRecord]:
    """Return what should be there, facts before reports; a report may have been changed."""
    facts = {
        path: record_of(
            path,
            num_bytes=fact.num_bytes,
            digest=Digest("md5", fact.md5),
            version_id=fact.version_id,
        )
        for path, fact in known_files(root.name).items()
    }
    reported = read_records(root)
    if not (root.is_dir() and (reported or facts)):
        found = "holds no download.json" if root.is_dir() else "is no folder"
        raise DownloadError(
            f"{root} {found}, so there is nothing to verify. "
            f"Fetch it first: spectrum download {root.name}.",
            code="nothing-to-verify",
            path=str(root),
        )
    expected = {path: facts.get(path, record) for path, record in (reported or facts).items()}
    values = values_of(expected)
    check_filters(request.filters, {root.name: values})
    filters = request.filters.model_copy(
        update={"everything": request.filters.everything or bool(reported)}
    )
    return {path: r for path, r in expected.items() if is_wanted(path, filters, values)}


def _check(root: Path, record: FileRecord) -> tuple[FileRecord, Problem | None]:
    try:
        return record, _problem_of(root, record)
    except DownloadError as err:
        return record, Problem(code=err.code, path=record.path, message=err.message)
    except OSError as err:
        message = f"{record.path} cannot be read: {(err.strerror or str(err)).lower()}."
        return record, Problem(code="unreadable", path=record.path, message=message)


def _problem_of(root: Path, record: FileRecord) -> Problem | None:
    path = record.path
    unsafe = refuse_unsafe([path])
    if unsafe:
        return unsafe[0]
    state = check_way(root, path)
    if state is None:
        return Problem(
            code="missing", path=path, message=f"{path} is not there. Download again to fetch it."
        )
    if state.st_size != record.bytes:
        sentence = f"{path} has {state.st_size} bytes, expected {record.bytes}."
        return Problem(
            code="wrong-size", path=path, message=f"{sentence} --force fetches it again."
        )
    found = digest_of(root / path, record.digest_kind)
    if found.value != record.digest:
        sentence = f"{path} has the {found.kind} digest {found.value}, expected {record.digest}."
        return Problem(
            code="wrong-bytes", path=path, message=f"{sentence} --force fetches it again."
        )
    return None
