"""What a generation says of its files, and what this machine knows of them.

Not here: how generations travel (``mirror``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from spectrum.config import canonical_json, fingerprint
from spectrum.config.files import parse_json
from spectrum.owners import owner_of, write_whole

__all__ = [
    "BOOK_NAME",
    "Book",
    "Look",
    "StoredFile",
    "digest_of",
    "generation_in",
    "is_of_mirror",
    "look_at",
    "read_book",
    "stored_file",
    "stored_of",
    "told_generation",
    "write_book",
]

FILES: Final = "files"
"""Beginning of the names of objects that hold files."""

BOOK_NAME: Final = ".mirror.json"
"""File beside what is mirrored that holds what this machine last pushed or pulled."""

SCHEMA_VERSION: Final = 1

SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a generation."""

    sha256: str
    num_bytes: int

    def object_of(self, path: str) -> str:
        """Return the name of the object that holds the file."""
        return f"{FILES}/{path}~{self.sha256[:16]}"


Look = tuple[int, int, int]
"""Time of change, size and number of a file: while they stay, its content is not read again."""


@dataclass(slots=True)
class Book:
    """What this machine knows: the last generation it pushed or pulled, and files it has read.

    ``begun`` is the digest of the generation that it was about to publish, or "": a kill, or a
    store that goes away, may come when that is done and not yet known.
    """

    generation: int = 0
    files: dict[str, StoredFile] = field(default_factory=dict)
    begun: str = ""
    seen: dict[str, tuple[Look, StoredFile]] = field(default_factory=dict)


def digest_of(generation: int, files: Mapping[str, StoredFile]) -> str:
    """Return what tells a generation from others of its number."""
    return fingerprint(_content(generation, files))


def told_generation(generation: int, files: Mapping[str, StoredFile]) -> bytes:
    """Return the content of ``latest.json``, with its digest."""
    content = _content(generation, files)
    return canonical_json({**content, "digest": fingerprint(content)}).encode()


def _content(generation: int, files: Mapping[str, StoredFile]) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "generation": generation,
        "files": {path: [stored.sha256, stored.num_bytes] for path, stored in files.items()},
    }


def read_book(path: Path) -> Book:
    """Return what a book says; a damaged one knows nothing, and all is compared with the store."""
    try:
        told = parse_json(path.read_bytes())
        return Book(
            int(told["generation"]),
            {name: StoredFile(*value) for name, value in told["files"].items()},
            str(told.get("begun", "")),
            {p: ((t, n, i), StoredFile(*s)) for p, ((t, n, i), *s) in told["seen"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Book()


def write_book(path: Path, book: Book) -> None:
    """Write what this machine knows, whole."""
    told = {
        "generation": book.generation,
        "files": {path: [s.sha256, s.num_bytes] for path, s in book.files.items()},
        "begun": book.begun,
        "seen": {p: [look, s.sha256, s.num_bytes] for p, (look, s) in book.seen.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(told).encode())


def generation_in(content: bytes) -> tuple[int, dict[str, StoredFile]]:
    """Return number and files of a generation; raise ValueError, KeyError, TypeError else."""
    told: dict[str, Any] = parse_json(content)
    digest = told.pop("digest")
    if fingerprint(told) != digest:
        raise ValueError("its digest does not fit")
    if told["schema"] != SCHEMA_VERSION:
        raise ValueError(f"schema {told['schema']} where {SCHEMA_VERSION} was expected")
    files = {_checked(path): _stored(*value) for path, value in told["files"].items()}
    return int(told["generation"]), files


def _checked(path: str) -> str:
    """Return a path that stays within the folder; raise ValueError for any other."""
    parts = path.split("/")
    is_plain = PurePosixPath(path).as_posix() == path and not {"", ".", ".."} & set(parts)
    if not is_plain or "\\" in path or "\0" in path or path == BOOK_NAME:
        raise ValueError(f"the path {path!r}, which no folder of Spectrum has")
    return path


def _stored(sha256: Any, num_bytes: Any) -> StoredFile:
    """Return what a generation says of a file; raise ValueError for what names no object."""
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ValueError(f"the digest {str(sha256)[:80]!r}, which is no SHA-256")
    if not isinstance(num_bytes, int) or num_bytes < 0:
        raise ValueError(f"the size {str(num_bytes)[:80]!r}")
    return StoredFile(sha256, num_bytes)


def is_of_mirror(path: str) -> bool:
    """Tell whether a file is the mirror's own: its book, or what is being written or fetched."""
    return path == BOOK_NAME or owner_of(Path(path)) is not None


def look_at(path: Path) -> Look:
    """Look at a file; raise FileNotFoundError where there is none."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def stored_of(content: bytes) -> StoredFile:
    """Return what a content is in a generation."""
    return StoredFile(hashlib.sha256(content).hexdigest(), len(content))


def stored_file(path: Path) -> StoredFile:
    """Return what a file is in a generation."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(digest, file.tell())
