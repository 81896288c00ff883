"""A file that is not whole yet: its bytes, and a journal of which of them have arrived.

Beside each other in the hidden state folder, under a name made from the path's digest:
``<name>.part`` holds bytes at their final offsets; ``<name>.journal`` one JSON line a block,
written after the block's bytes, with a CRC-32 of them. On opening, every line is held against the
bytes: a torn line, bytes that never reached the disk, and a journal of another object count for
nothing. So a torn write is never taken as whole, whatever the order in which the disk wrote, and
nothing becomes visible before the digest of the whole file is right. Data is flushed before the
line that ends a part, so that a power cut costs parts, not files.
Not here: where bytes come from (``transfer``), and when a file is right (``placing``).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from spectrum.config.files import parse_json
from spectrum.data.download.bucket import Extent, ObjectState
from spectrum.data.download.faults import disk_error
from spectrum.data.download.world import WriteAt

__all__ = ["PartFile", "missing_extents", "state_name"]

CHUNK_BYTES: Final = 1024**2


def state_name(path: str) -> str:
    """Return the name that a file has while it is not whole: no image, whatever it will be."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def missing_extents(
    arrived: Iterable[Extent], *, num_bytes: int, part_bytes: int
) -> tuple[Extent, ...]:
    """Return what has not arrived yet, cut where parts begin.

    Parameters
    ----------
    arrived : in any order; may overlap
    num_bytes : of the whole file, >= 0
    part_bytes : >= 1

    Examples
    --------
    >>> missing_extents([Extent(2, 5)], num_bytes=9, part_bytes=4)
    (Extent(start=0, stop=2), Extent(start=5, stop=8), Extent(start=8, stop=9))
    """
    gaps, at = [], 0
    for extent in sorted(arrived):
        if extent.start > at:
            gaps.append(Extent(at, extent.start))
        at = max(at, extent.stop)
    if at < num_bytes:
        gaps.append(Extent(at, num_bytes))
    return tuple(piece for gap in gaps for piece in _cut(gap, part_bytes))


def _cut(gap: Extent, part_bytes: int) -> Iterator[Extent]:
    start = gap.start
    while start < gap.stop:
        stop = min(gap.stop, (start // part_bytes + 1) * part_bytes)
        yield Extent(start, stop)
        start = stop


@dataclass(slots=True, kw_only=True)
class PartFile:
    """The open part and journal of one file; several threads may write different extents."""

    part_path: Path
    journal_path: Path
    state: ObjectState
    arrived: tuple[Extent, ...]
    """What had arrived, and still held, when the file was opened."""
    version_id: str = ""
    """Of the object, as the answers tell it; all of them agree with ``state``."""
    write_at: WriteAt = os.pwrite
    _part: int = -1
    _journal: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(
        cls, folder: Path, path: str, state: ObjectState, *, write_at: WriteAt = os.pwrite
    ) -> PartFile:
        """Open what is there of a file, or begin it.

        Parameters
        ----------
        folder : of the state of unfinished files
        path : of the file within its data set
        state : of the object that the bytes come from
            Bytes of an object in another state are dropped.
        write_at : writes bytes of a descriptor at an offset, as ``os.pwrite``
        """
        name = state_name(path)
        part_path, journal_path = folder / f"{name}.part", folder / f"{name}.journal"
        head = {"format": 1, "path": path, **asdict(state)}
        lines = _lines_that_hold(part_path, _read_journal(journal_path, head))
        opened = cls(
            part_path=part_path,
            journal_path=journal_path,
            state=state,
            arrived=tuple(Extent(line["start"], line["stop"]) for line in lines),
            version_id=state.version_id,
            write_at=write_at,
        )
        opened._open([head, *lines])
        return opened

    def _open(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write the journal anew without what does not hold, and open both for writing."""
        aside = self.journal_path.with_suffix(".aside")
        try:
            aside.write_bytes(b"".join(map(_line, lines)))
            aside.replace(self.journal_path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._part = os.open(self.part_path, flags, 0o666)
            self._journal = os.open(self.journal_path, flags | os.O_APPEND)
        except OSError as err:
            self.close()
            raise disk_error(err, self.part_path) from err

    def write(self, start: int, data: bytes) -> None:
        """Write bytes at their offset."""
        view = memoryview(data)
        try:
            while view:
                written = self.write_at(self._part, view, start)
                view, start = view[written:], start + written
        except OSError as err:
            raise disk_error(err, self.part_path) from err

    def note(self, extent: Extent, crc32: int, *, flush: bool) -> None:
        """Note that the bytes of an extent are written; flush both to the disk where asked."""
        line = _line({"start": extent.start, "stop": extent.stop, "crc32": crc32})
        try:
            if flush:
                os.fsync(self._part)
            with self._lock:
                os.write(self._journal, line)
            if flush:
                os.fsync(self._journal)
        except OSError as err:
            raise disk_error(err, self.journal_path) from err

    def seal(self) -> None:
        """Cut what is beyond the end, and have all bytes on the disk."""
        try:
            os.ftruncate(self._part, self.state.num_bytes)
            os.fsync(self._part)
        except OSError as err:
            raise disk_error(err, self.part_path) from err

    def close(self) -> None:
        """Close both files; may be called again."""
        for descriptor in (self._part, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._part = self._journal = -1

    def discard(self) -> None:
        """Close and forget everything; the journal first, so that no part is believed without."""
        self.close()
        self.journal_path.unlink(missing_ok=True)
        self.part_path.unlink(missing_ok=True)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"


def _read_journal(path: Path, head: dict[str, Any]) -> list[dict[str, int]]:
    """Return the lines of a journal of the same object; a torn line and what follows are left."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
        if not lines or parse_json(lines[0]) != head:
            return []
    except (OSError, ValueError):
        return []
    found = []
    for line in lines[1:]:
        try:
            value = parse_json(line)
            found.append({name: int(value[name]) for name in ("start", "stop", "crc32")})
        except (ValueError, TypeError, KeyError):
            break
    return found


def _lines_that_hold(part_path: Path, lines: list[dict[str, int]]) -> list[dict[str, int]]:
    try:
        with part_path.open("rb") as file:
            return [line for line in lines if _holds(file, line)]
    except OSError:
        return []


def _holds(file: Any, line: dict[str, int]) -> bool:
    file.seek(line["start"])
    left, crc32 = line["stop"] - line["start"], 0
    if left <= 0 or line["start"] < 0:
        return False
    while left > 0:
        chunk = file.read(min(left, CHUNK_BYTES))
        if not chunk:
            return False
        left, crc32 = left - len(chunk), zlib.crc32(chunk, crc32)
    return crc32 == line["crc32"]
