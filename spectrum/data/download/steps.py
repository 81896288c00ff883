"""What is done with one file, step by step: look, open, fetch its extents, verify and place it.

Each step is one call that a worker makes. Not here: the order of steps (``crew``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from spectrum.data.download.bucket import Extent, ObjectState
from spectrum.data.download.digests import Digest, digest_of, digest_of_etag
from spectrum.data.download.faults import StoppedError, VersionUnknownError
from spectrum.data.download.part_file import (
    PartFile,
    missing_extents,
    state_name,
)
from spectrum.data.download.placing import check_way, place, writing_to
from spectrum.data.download.plan import PlannedFile
from spectrum.data.download.report import FileRecord, record_of
from spectrum.data.download.transfer import Source
from spectrum.errors import DownloadError

__all__ = ["Opened", "Site", "finish_file", "open_file"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The folder that a data set is fetched into.

    Parameters
    ----------
    root : of the data set
    state_folder : of what is not whole yet, on the same disk
    records : of an earlier download
    force : fetch again what is there
    """

    root: Path
    state_folder: Path
    records: Mapping[str, FileRecord] = field(default_factory=dict)
    force: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose missing extents can be fetched."""

    file: PlannedFile
    part: PartFile
    missing: tuple[Extent, ...]


def open_file(
    source: Source, site: Site, file: PlannedFile, *, anew: bool, in_one_piece: bool
) -> Opened | FileRecord:
    """Return the record of a file that is there and right, or what has to be fetched of it.

    Parameters
    ----------
    source : of the bytes
    site : where they go
    file : as planned
    anew : the object changed meanwhile, so that what the plan says of it is out of date
    in_one_piece : the server sends whole objects only

    Raises
    ------
    DownloadError : code ``differs`` or ``unreadable``
        Where other bytes are there that no download of ours put there, or none can be read.
    """
    found = check_way(site.root, file.path)
    if found is not None and not site.force:
        record = _record_of_present(source, site, file, found.st_size)
        if record is not None:
            _forget(site, file)
            source.meter.count_kept(file.num_bytes)
            return record
    state = _pin(source, file, anew=anew)
    if anew and file.digest.kind in ("etag", "none"):
        file = replace(file, num_bytes=state.num_bytes, digest=digest_of_etag(state.etag))
    if state.num_bytes != file.num_bytes:
        raise _wrong_size(file, state.num_bytes)
    part = PartFile.open(site.state_folder, file.path, state, write_at=source.world.write_at)
    part_bytes = file.num_bytes if in_one_piece else source.config.part_bytes
    missing = missing_extents(
        () if in_one_piece else part.arrived, num_bytes=file.num_bytes, part_bytes=part_bytes
    )
    source.meter.count_kept(file.num_bytes - sum(extent.num_bytes for extent in missing))
    return Opened(file, part, missing)


def finish_file(source: Source, site: Site, opened: Opened) -> FileRecord:
    """Hold the whole file against its digest, and make it visible.

    Raises
    ------
    DownloadError : code ``wrong-bytes``; the bytes are dropped
    """
    file, part = opened.file, opened.part
    part.seal()
    expected = file.digest
    with writing_to(part.part_path):
        found = digest_of(part.part_path, expected.kind, on_chunk=lambda: _go_on(source, file))
    if expected.is_known and found != expected:
        if not _is_etag_of_managed_key(source, opened):
            source.meter.count_kept(-file.num_bytes)
            part.discard()
            raise _wrong_bytes(file, found)
        found = Digest("none", found.value)
    part.close()
    place(part.part_path, site.root, file.path)
    part.discard()
    return record_of(
        file.path,
        num_bytes=file.num_bytes,
        digest=found,
        version_id=part.version_id,
    )


def _go_on(source: Source, file: PlannedFile) -> None:
    if source.world.stopped.is_set():
        raise StoppedError("stopped", code="stopped", path=file.path)


def _record_of_present(
    source: Source, site: Site, file: PlannedFile, num_bytes: int
) -> FileRecord | None:
    """Return the record of a file that is right; None for one of ours that is out of date."""
    earlier = site.records.get(file.path)
    if num_bytes == file.num_bytes:
        found = _digest_present(source, site, file, file.digest)
        is_unknown = not file.digest.is_known and (earlier is None or _is_ours(earlier, found))
        if found == file.digest or is_unknown:
            version_id = earlier.version_id if earlier else file.version_id
            return record_of(file.path, num_bytes=num_bytes, digest=found, version_id=version_id)
    if earlier is not None and earlier.bytes == num_bytes:
        kind = Digest(earlier.digest_kind, earlier.digest)
        if _is_ours(earlier, _digest_present(source, site, file, kind)):
            return None
    whose = (
        "no download is known to have put them there"
        if earlier is None
        else "it changed since it was fetched"
    )
    raise DownloadError(
        f"{file.path} is there with other bytes than the data set has; {whose}. Move it away and "
        "download again, or replace it with --force.",
        code="differs",
        path=file.path,
    )


def _digest_present(source: Source, site: Site, file: PlannedFile, like: Digest) -> Digest:
    path = site.root / file.path
    try:
        return digest_of(path, like.kind, on_chunk=lambda: _go_on(source, file))
    except OSError as err:
        raise DownloadError(
            f"{file.path} is there and cannot be read: {(err.strerror or str(err)).lower()}. "
            "Let it be read, or replace it with --force.",
            code="unreadable",
            path=file.path,
        ) from err


def _is_ours(earlier: FileRecord | None, found: Digest) -> bool:
    return earlier is not None and (earlier.digest_kind, earlier.digest) == (
        found.kind,
        found.value,
    )


def _forget(site: Site, file: PlannedFile) -> None:
    name = state_name(file.path)
    for suffix in ("journal", "part"):
        (site.state_folder / f"{name}.{suffix}").unlink(missing_ok=True)


def _pin(source: Source, file: PlannedFile, *, anew: bool) -> ObjectState:
    """Return what all parts of the file must agree on."""
    is_small = file.num_bytes <= source.config.part_bytes
    if file.num_bytes == 0 or (is_small and file.etag and not file.version_id and not anew):
        return ObjectState(file.num_bytes, file.etag)
    look, again = source.bucket.look, source.patience.try_again
    if file.version_id:
        try:
            return again(lambda: look(file.key, version_id=file.version_id))
        except VersionUnknownError:
            pass
    return again(lambda: look(file.key))


def _is_etag_of_managed_key(source: Source, opened: Opened) -> bool:
    """Tell whether the ETag that did not fit is no MD5, since the object is encrypted."""
    if opened.file.digest.kind != "etag":
        return False
    state = source.patience.try_again(lambda: source.bucket.look(opened.file.key))
    return not state.is_etag_md5


def _wrong_size(file: PlannedFile, num_bytes: int) -> DownloadError:
    return DownloadError(
        f"{file.path}: the server has {num_bytes} bytes, the data set {file.num_bytes}. "
        "It is not fetched; tell the mirror or OpenNeuro.",
        code="wrong-size",
        path=file.path,
    )


def _wrong_bytes(file: PlannedFile, found: Digest) -> DownloadError:
    return DownloadError(
        f"{file.path}: what arrived has the {found.kind} digest {found.value}, expected "
        f"{file.digest.value}. It is not kept; try again later, or tell OpenNeuro.",
        code="wrong-bytes",
        path=file.path,
    )
