"""Digests of input files, remembered by path, size and time of change.

Knowing a digest again costs one ``stat``. Not here: what the digests are for (``inputs``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spectrum.data.images import digest_file, image_files

__all__ = ["DigestCache", "file_state"]

State = tuple[int, int]
Entry = tuple[int, int, str]


def file_state(path: Path) -> State | None:
    """Return size and time of change in nanoseconds; None where there is no file.

    Of an image in two files the sum of the sizes and the later of the times.
    """
    try:
        states = [file.stat() for file in image_files(path)]
    except OSError:
        return None
    return sum(s.st_size for s in states), max(s.st_mtime_ns for s in states)


@dataclass(slots=True)
class DigestCache:
    """The digests that one file of a shards folder remembers."""

    path: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> DigestCache:
        """Read the file; an absent or damaged one remembers nothing."""
        return cls(path=path, entries=_read(path))

    def find(self, path: Path) -> str | None:
        """Return the digest of a file that has not changed since; None where it is not known."""
        entry = self.entries.get(str(path.absolute()))
        return entry[2] if entry is not None and entry[:2] == file_state(path) else None

    def measure(self, path: Path) -> str:
        """Return the digest of a file, reading it where it is not known."""
        known = self.find(path)
        if known is not None:
            return known
        state = file_state(path)
        sha256 = digest_file(path)
        if state is not None:
            self.entries[str(path.absolute())] = (*state, sha256)
        return sha256

    def remember(self, found: Mapping[str, Entry]) -> None:
        """Add what workers found, by absolute path."""
        self.entries.update(found)

    def write_new(self) -> None:
        """Merge with what others wrote meanwhile; nothing is written where nothing is new."""
        written = _read(self.path)
        merged = {**written, **self.entries}
        if merged == written:
            return
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.aside")
        aside.write_text(json.dumps(merged, sort_keys=True), encoding="utf-8")
        aside.replace(self.path)


def _read(path: Path) -> dict[str, Entry]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(k): (int(v[0]), int(v[1]), str(v[2])) for k, v in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):
        return {}
