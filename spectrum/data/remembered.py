"""What is remembered from call to call: JSON files of entries, merged and written whole.

What such a file says may always be lost: it saves work, and is found out again. Not here: what
the entries are (``digests``, ``voxel_digests``, ``quarantine``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from spectrum.config.files import parse_json
from spectrum.owners import remove_abandoned, write_whole

__all__ = ["read_entries", "write_entries"]

Entry = TypeVar("Entry")


def read_entries(path: Path, parse: Callable[[Any], Entry]) -> dict[str, Entry]:
    """Read the entries of a file; an absent or damaged one has none.

    Parameters
    ----------
    path : of the file
    parse : turns the JSON of an entry into the entry; raises where it is none
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries: dict[str, Entry] = {}
    for key, value in found.items() if isinstance(found, dict) else ():
        with suppress(ValueError, TypeError, IndexError, KeyError):
            entries[key] = parse(value)
    return entries


def write_entries(
    path: Path,
    new: Mapping[str, Entry],
    parse: Callable[[Any], Entry],
    *,
    forget: Collection[str] = (),
) -> None:
    """Merge with what others wrote meanwhile; nothing is written where nothing changes.

    Parameters
    ----------
    path : of the file, in a folder that exists
    new : entries that are added, or replace those of their names
    parse : as for ``read_entries``
    forget : entries that go
    """
    known = read_entries(path, parse)
    merged = {key: entry for key, entry in {**known, **new}.items() if key not in forget}
    if merged == known:
        return
    remove_abandoned(path.parent, f".{path.name}.*")
    write_whole(path, json.dumps(merged, sort_keys=True).encode())
