"""A folder of shard sets as a store: what is in it, when it was used last, what can go.

A set that was used a moment ago is taken for in use. Whoever finds the set it wants gone makes it
again. Not here: how sets are made (``pipeline``) and read (``shards``).
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectrum.config import PreprocessingConfig
from spectrum.data.manifest import MANIFEST_NAME, read_manifest
from spectrum.errors import ShardError

__all__ = ["Pruned", "StoredSet", "list_sets", "mark_used", "prune_sets"]

IN_USE_S: Final = 120.0
"""A set is read in seconds after it was opened; for so long nobody removes it."""

Clock = Callable[[], float]

Inodes = dict[tuple[int, int], int]
"""Bytes of files, by what they are on disk: device and inode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSet:
    """A finished set.

    ``num_bytes`` counts its files; files that sets share (hard links) count in each of them.
    ``used_s`` is when it was opened last, seconds since the epoch. ``recipe`` is None where the
    manifest cannot be read.
    """

    path: Path
    recipe: PreprocessingConfig | None
    num_runs: int
    num_volumes: int
    num_bytes: int
    used_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed, what is left, and the bytes on disk before and after."""

    removed: tuple[StoredSet, ...]
    kept: tuple[StoredSet, ...]
    bytes_before: int
    bytes_after: int


def mark_used(folder: Path, *, clock: Clock = time.time) -> None:
    """Remember that a set is used now: in the time of change of an empty file beside the sets.

    Times of access are of no use here: to list sets is to read them. A folder that cannot be
    written to keeps its old time.
    """
    marker = _marker(folder)
    with suppress(OSError):
        marker.parent.mkdir(exist_ok=True)
        marker.touch()
        os.utime(marker, (clock(), clock()))


def _marker(folder: Path) -> Path:
    return folder.parent / ".used" / folder.name


def list_sets(root: Path) -> tuple[StoredSet, ...]:
    """Return the finished sets below a shards folder, the one used last first."""
    found = (_describe(path.parent) for path in root.glob(f"*/{MANIFEST_NAME}"))
    return tuple(sorted(found, key=lambda stored: (-stored.used_s, stored.path.name)))


def _describe(folder: Path) -> StoredSet:
    marker = _marker(folder)
    used_s = (marker if marker.exists() else folder / MANIFEST_NAME).stat().st_mtime
    num_bytes = _num_bytes([_inodes(folder)])
    try:
        manifest = read_manifest(folder)
    except ShardError:
        return StoredSet(
            path=folder, recipe=None, num_runs=0, num_volumes=0, num_bytes=num_bytes, used_s=used_s
        )
    return StoredSet(
        path=folder,
        recipe=manifest.recipe,
        num_runs=len(manifest.runs),
        num_volumes=manifest.num_volumes,
        num_bytes=num_bytes,
        used_s=used_s,
    )


def _inodes(folder: Path) -> Inodes:
    found = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            status = path.stat()
            found[status.st_dev, status.st_ino] = status.st_size
    return found


def prune_sets(
    root: Path,
    *,
    budget_bytes: int,
    keep: Collection[Path] = (),
    dry_run: bool = False,
    clock: Clock = time.time,
) -> Pruned:
    """Remove the sets used longest ago, until the others fit a budget.

    Parameters
    ----------
    root : folder of all shard sets
    budget_bytes : bytes of all sets together, >= 0; shared files count once
    keep : sets that stay whatever the budget; so do those used in the last two minutes
    dry_run : say what would go and remove nothing
    clock : seconds since the epoch

    Returns
    -------
    pruned
        ``bytes_after`` is above the budget where what must stay is.
    """
    sets = list_sets(root)
    files_of = {stored.path: _inodes(stored.path) for stored in sets}
    may_go = [
        stored
        for stored in reversed(sets)
        if stored.path.name not in {path.name for path in keep}
        and clock() - stored.used_s > IN_USE_S
    ]
    removed = _oldest_beyond(budget_bytes, may_go, files_of)
    kept = tuple(stored for stored in sets if stored not in removed)
    if not dry_run:
        for stored in removed:
            _remove(stored.path)
    return Pruned(
        removed=removed,
        kept=kept,
        bytes_before=_num_bytes(files_of.values()),
        bytes_after=_num_bytes(files_of[stored.path] for stored in kept),
    )


def _num_bytes(files: Iterable[Inodes]) -> int:
    """Return the bytes of files of which some are the same."""
    return sum({inode: size for several in files for inode, size in several.items()}.values())


def _oldest_beyond(
    budget_bytes: int, may_go: Sequence[StoredSet], files_of: Mapping[Path, Inodes]
) -> tuple[StoredSet, ...]:
    """Return the first sets that must go, for what is left to fit the budget."""
    left = dict(files_of)
    removed = []
    for stored in may_go:
        if _num_bytes(left.values()) <= budget_bytes:
            break
        del left[stored.path]
        removed.append(stored)
    return tuple(removed)


def _remove(folder: Path) -> None:
    """Take a set away in one rename, so that nobody finds half of it."""
    aside = folder.with_name(f".evicted-{folder.name}-{uuid.uuid4().hex[:8]}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
        _marker(folder).unlink(missing_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
