"""A folder of shard sets as a store: what is in it, when it was used last, what can go.

A set that was used a moment ago is taken for in use. Whoever finds the set it wants gone makes it
again; so it is with the spatial parts of runs that sets are made from. Several processes may list
and prune at once. Not here: how sets are made (``pipeline``) and read (``shards``).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from spectrum.config import PreprocessingConfig
from spectrum.config.files import parse_json
from spectrum.data.describing import recipe_words
from spectrum.data.holders import held_sets, remove_dead_holders
from spectrum.data.manifest import MANIFEST_NAME, read_manifest
from spectrum.data.pieces import SPATIAL_FOLDER
from spectrum.data.set_storage import SetStorage, is_whole
from spectrum.errors import ShardError

__all__ = [
    "Pruned",
    "StoredSet",
    "evictions",
    "find_by_content",
    "list_sets",
    "mark_used",
    "prune_sets",
    "prune_spatial",
    "set_bytes",
    "spatial_bytes",
]

IN_USE_S: Final = 120.0
"""A set is read in seconds after it was opened; for so long nobody removes it."""

EVICTIONS: Final = "evictions.jsonl"

LEFTOVER_S: Final = 86_400.0
"""What is half made or half removed and was not touched for a day was left so."""

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
    """What was removed, what is left, and the bytes on disk before and after.

    A set that was opened after the sets were listed is kept, one that somebody else removed is
    in neither. ``held`` names the running study for each set that was kept because of it.
    """

    removed: tuple[StoredSet, ...]
    kept: tuple[StoredSet, ...]
    bytes_before: int
    bytes_after: int
    held: Mapping[str, str] = field(default_factory=dict)


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
    folders = (path.parent for path in root.glob(f"*/{MANIFEST_NAME}"))
    found = (_describe(folder) for folder in folders if not folder.name.startswith("."))
    sets = (stored for stored in found if stored is not None)
    return tuple(sorted(sets, key=lambda stored: (-stored.used_s, stored.path.name)))


def find_by_content(content_hash: str, roots: Sequence[Path]) -> Path | None:
    """Return the folder of the first finished set with a content hash, or None.

    One that is not here, and is in the object store of a folder, is fetched from there.
    """
    for root in roots:
        for stored in list_sets(root):
            with suppress(ShardError):
                is_it = read_manifest(stored.path).content_hash == content_hash
                if is_it and is_whole(stored.path):
                    return stored.path
    storages = (storage for root in roots if (storage := SetStorage.of(root)))
    found = (storage.fetch_by_content(content_hash) for storage in storages)
    return next((folder for folder in found if folder is not None), None)


def _describe(folder: Path) -> StoredSet | None:
    """Return what a set is, None where it was removed in the meantime."""
    used_s = _used_s(folder)
    if used_s is None:
        return None
    num_bytes = _num_bytes([_inodes(folder)])
    try:
        manifest = read_manifest(folder)
    except ShardError:
        if not folder.exists():
            return None
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


def set_bytes(folder: Path) -> int:
    """Return the bytes of a set's files; 0 where it is gone."""
    return _num_bytes([_inodes(folder)])


def _used_s(folder: Path) -> float | None:
    """Return when a set was opened or, failing that, made; None where it is gone."""
    for path in (_marker(folder), folder / MANIFEST_NAME):
        with suppress(OSError):
            return path.stat().st_mtime
    return None


def _inodes(folder: Path) -> Inodes:
    """Return the files of a folder; those that vanish meanwhile, and the folder too, are not."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(OSError):
                status = path.stat()
                found[status.st_dev, status.st_ino] = status.st_size
    return found


def prune_sets(
    root: Path,
    *,
    budget_bytes: int,
    keep: Collection[Path] = (),
    by: str = "",
    dry_run: bool = False,
    clock: Clock = time.time,
) -> Pruned:
    """Remove the sets used longest ago, until the others fit a budget.

    Each removal is a line of ``evictions.jsonl`` beside the sets. Folders that a process left half
    made or half removed and nobody touched for a day are removed too.

    Parameters
    ----------
    root : folder of all shard sets
    budget_bytes : bytes of all sets together, >= 0; shared files count once
    keep : sets that stay whatever the budget
        So do those used in the last two minutes, and those that running studies hold.
    by : for the record, who asks; a holder (``holders``) does not hold its own sets against itself
    dry_run : say what would go and remove nothing
    clock : seconds since the epoch

    Returns
    -------
    pruned
        ``bytes_after`` is above the budget where what must stay is.
    """
    sets = list_sets(root)
    files_of = {stored.path: _inodes(stored.path) for stored in sets}
    held = held_sets(root, besides=by, clock=clock)
    may_go = [
        stored
        for stored in reversed(sets)
        if stored.path.name not in {*held, *(path.name for path in keep)}
        and clock() - stored.used_s > IN_USE_S
    ]
    removed = _oldest_beyond(budget_bytes, may_go, files_of)
    if not dry_run:
        removed = tuple(stored for stored in removed if _is_removed(stored))
        _record(root, removed, by=by, time_s=clock())
        remove_dead_holders(root, clock=clock)
        _remove_leftovers(root, clock() - LEFTOVER_S)
    kept = tuple(stored for stored in sets if stored not in removed and stored.path.exists())
    return Pruned(
        removed=removed,
        kept=kept,
        bytes_before=_num_bytes(files_of.values()),
        bytes_after=_num_bytes(files_of[stored.path] for stored in kept),
        held={
            stored.path.name: held[stored.path.name] for stored in kept if stored.path.name in held
        },
    )


def evictions(root: Path, *, by: str) -> tuple[dict[str, Any], ...]:
    """Return what somebody removed: a mapping with set, recipe, num_bytes and time each.

    Parameters
    ----------
    root : folder of all shard sets
    by : as ``prune_sets`` was told
    """
    with suppress(OSError):
        lines = (root / EVICTIONS).read_text(encoding="utf-8").splitlines()
        return tuple(told for line in lines if (told := _parsed(line)).get("by") == by)
    return ()


def _parsed(line: str) -> dict[str, Any]:
    """Return what a line says; nothing of one that a full disk cut."""
    with suppress(ValueError):
        told = parse_json(line)
        return told if isinstance(told, dict) else {}
    return {}


def _record(root: Path, removed: Iterable[StoredSet], *, by: str, time_s: float) -> None:
    """Append a line for each removed set; where the disk has no room, that room comes first."""
    told = [
        {
            "set": stored.path.name,
            "recipe": recipe_words(stored.recipe) if stored.recipe else "damaged",
            "num_bytes": stored.num_bytes,
            "time": datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds"),
            "by": by,
        }
        for stored in removed
    ]
    if told:
        with suppress(OSError), (root / EVICTIONS).open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in told))


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


def _is_removed(stored: StoredSet) -> bool:
    """Take a set away in one rename, so that nobody finds half of it.

    False where it was used since it was listed, or somebody else has removed it.
    """
    folder = stored.path
    aside = folder.with_name(f".evicted-{folder.name}-{uuid.uuid4().hex[:8]}")
    if _used_s(folder) != stored.used_s:
        return False
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return False
    _marker(folder).unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _remove_leftovers(root: Path, before_s: float) -> None:
    for pattern in (".aside-*", ".evicted-*"):
        for folder in root.glob(pattern):
            if _touched_s(folder) < before_s:
                shutil.rmtree(folder, ignore_errors=True)


def _touched_s(folder: Path) -> float:
    """Return the last change of a folder or of what is in it; infinity where some just went."""
    with suppress(OSError):
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    return math.inf


def spatial_bytes(root: Path) -> tuple[int, int]:
    """Return how many spatial parts of runs are kept below a shards folder, and their bytes."""
    sizes = [status.st_size for _, status in _spatial_files(root, ".safetensors")]
    return len(sizes), sum(sizes)


def prune_spatial(
    root: Path, *, unused_s: float, clock: Clock = time.time, dry_run: bool = False
) -> tuple[int, int]:
    """Remove the spatial parts of runs that no set was made from for a while.

    Parameters
    ----------
    root : folder of all shard sets
    unused_s : seconds since a part was made or read last, >= 0
    clock : seconds since the epoch
    dry_run : say what would go and remove nothing

    Returns
    -------
    removed
        Parts, and their bytes. Files that were left half written go after a day, uncounted.
    """
    old = [
        (path, status.st_size)
        for path, status in _spatial_files(root, ".safetensors")
        if clock() - status.st_mtime > unused_s
    ]
    if dry_run:
        return len(old), sum(size for _, size in old)
    removed = [size for path, size in old if _is_unlinked(path)]
    for path, status in _spatial_files(root, ""):
        if ".safetensors." in path.name and clock() - status.st_mtime > LEFTOVER_S:
            _is_unlinked(path)
    return len(removed), sum(removed)


def _is_unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _spatial_files(root: Path, ending: str) -> Iterator[tuple[Path, os.stat_result]]:
    for parent, _, names in os.walk(root / SPATIAL_FOLDER):
        for path in (Path(parent, name) for name in names if name.endswith(ending)):
            with suppress(OSError):
                yield path, path.stat()
