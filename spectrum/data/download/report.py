"""``download.json``: what lies in a folder, where it came from, how far it is verified."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from spectrum import __version__
from spectrum.config.files import parse_json
from spectrum.data.download.bucket import BUCKET
from spectrum.data.download.config import DownloadRequest
from spectrum.data.download.digests import Digest, DigestKind
from spectrum.data.download.names import REPORT_NAME, STATE_FOLDER
from spectrum.data.download.placing import writing_to
from spectrum.data.download.plan import DatasetPlan
from spectrum.data.runs import Problem
from spectrum.errors import DownloadError

__all__ = ["FileRecord", "read_records", "record_of", "write_report"]

FORMAT: Final = 1
MAX_BYTES: Final = 256 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file that lies in the folder.

    Parameters
    ----------
    path : within the data set
    bytes : its size
    digest_kind, digest : what it was held against, and its value
        For ``none`` the MD5 of what arrived, which was held against nothing.
    version_id : of the object in the bucket, where the bucket keeps versions
    status : ``verified`` where the bytes have the digest; ``unverified`` where none was known
    """

    path: str
    bytes: int
    digest_kind: DigestKind
    digest: str
    version_id: str
    status: Literal["verified", "unverified"]


def record_of(path: str, *, num_bytes: int, digest: Digest, version_id: str) -> FileRecord:
    """Return the record of a file whose bytes have this digest."""
    return FileRecord(
        path=path,
        bytes=num_bytes,
        digest_kind=digest.kind,
        digest=digest.value,
        version_id=version_id,
        status="verified" if digest.is_known else "unverified",
    )


def read_records(root: Path) -> dict[str, FileRecord]:
    """Return what an earlier download wrote of a folder, by path; empty where none did.

    Raises
    ------
    DownloadError : code ``bad-report``
        Where there is a report that cannot be read.
    """
    path = root / REPORT_NAME
    try:
        if not path.is_file():
            return {}
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        value = parse_json(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise ValueError("another format")
        return {line["path"]: _record(line) for line in value["files"]}
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise DownloadError(
            f"{path} is no report of a download ({err}). Move it away and download again: "
            "what is there is checked and kept.",
            code="bad-report",
            path=str(path),
        ) from err


def _record(line: Mapping[str, Any]) -> FileRecord:
    record = FileRecord(**line)
    is_sound = (
        all(isinstance(getattr(record, n), str) for n in ("path", "digest", "version_id"))
        and isinstance(record.bytes, int)
        and record.digest_kind in get_args(DigestKind)
        and record.status in ("verified", "unverified")
    )
    if not is_sound:
        raise ValueError("a line of another form")
    return record


def write_report(
    root: Path,
    records: Iterable[FileRecord],
    refused: Iterable[Problem],
    *,
    request: DownloadRequest,
    plan: DatasetPlan,
    date: str,
) -> None:
    """Write the report of a folder, in one step.

    Parameters
    ----------
    root : of the data set
    records : of all files there, those of earlier downloads included
    refused : of this download
    request, plan : what was asked for, and what that came to
    date : ISO 8601
    """
    report = {
        "format": FORMAT,
        "dataset": plan.dataset,
        "endpoint_url": request.endpoint_url,
        "bucket": BUCKET,
        "snapshot": plan.snapshot or None,
        "filters": request.filters.model_dump(mode="json"),
        "date": date,
        "spectrum": __version__,
        "files": [asdict(record) for record in sorted(records, key=lambda r: r.path)],
        "refused": [asdict(problem) for problem in refused],
    }
    path = root / REPORT_NAME
    aside = root / STATE_FOLDER / REPORT_NAME
    with writing_to(path):
        with aside.open("w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
