"""Digests of input files, remembered by path, size and time of change.

Knowing a digest again costs one ``stat``. Not here: what the digests are for (``inputs``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spectrum.data.images import digest_file, image_files
from spectrum.data.remembered import read_entries, write_entries

__all__ = ["DIGESTS_NAME", "DigestCache", "file_state"]

DIGESTS_NAME: Final = "digests.json"
"""File of a shards folder that remembers the digests of input files."""

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
        return cls(path=path, entries=read_entries(path, _entry))

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
        write_entries(self.path, self.entries, _entry)


def _entry(value: Any) -> Entry:
    return int(value[0]), int(value[1]), str(value[2])
