"""The files that a search space is written in: inclusion, and the line of every value.

An included file comes first, what includes it goes over it; of several included files the later
one goes over the earlier. Not here: what the values mean (``space``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spectrum.config import read_yaml_lines
from spectrum.errors import ConfigError

__all__ = ["Place", "SpaceSource", "read_source"]

OF_ITS_OWN: Final = ("name", "description")
"""What a file never takes from one that it includes."""

BY_PATH: Final = ("parameters", "derive")
"""Sections whose entries replace each other whole. A path stands in one of them."""

MAX_FILES: Final = 100
"""Files that a space may be made of, each counted as often as it is included."""

Keys = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        """Write it as editors and terminals open it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSource:
    """What the files of a space say together, and where.

    ``notes`` has a sentence for each value that two included files give differently.
    """

    file: Path
    mapping: Mapping[str, Any]
    places: Mapping[Keys, Place]
    notes: tuple[str, ...] = ()

    @contextmanager
    def located(self) -> Iterator[None]:
        """Put file and line before the errors of a block."""
        try:
            yield
        except ConfigError as err:
            raise ConfigError(f"{self.place_of(err.at)}: {err}", at=err.at) from None

    def place_of(self, keys: Keys) -> Place | Path:
        """Return where a value stands, or the nearest one around it; the file without any."""
        for length in range(len(keys), 0, -1):
            for known in (keys[:length], tuple(str(key) for key in keys[:length])):
                if known in self.places:
                    return self.places[known]
        return self.file


@dataclass(slots=True)
class _Merged:
    mapping: dict[str, Any] = field(default_factory=dict)
    places: dict[Keys, Place] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    num_files: int = 0


def read_source(file: Path) -> SpaceSource:
    """Read a space file and all that it includes.

    Raises
    ------
    ConfigError
        A file is no YAML, includes itself by any way, or includes what is not there.
    """
    merged = _Merged()
    _add_file(file, merged, ())
    return SpaceSource(
        file=file,
        mapping=merged.mapping,
        places=merged.places,
        notes=tuple(dict.fromkeys(merged.notes)),
    )


def _add_file(file: Path, merged: _Merged, above: tuple[Path, ...]) -> None:
    merged.num_files += 1
    if merged.num_files > MAX_FILES:
        raise ConfigError(f"{above[0]} includes more than {MAX_FILES} files. Include fewer.")
    mapping, lines = read_yaml_lines(file)
    places = {keys: Place(file, line) for keys, line in lines.items()}
    siblings = _Merged(num_files=merged.num_files)
    for index, other in enumerate(_included(file, mapping, places)):
        place = places.get(("include", index), places[("include",)])
        _check_inclusion(other, place, (*above, file))
        inner = _Merged(num_files=siblings.num_files)
        _add_file(other, inner, (*above, file))
        siblings.notes += [*inner.notes, *_conflicts(siblings, inner)]
        siblings.num_files = inner.num_files
        _lay_over(siblings, inner.mapping, inner.places)
    own = {name: value for name, value in mapping.items() if name != "include"}
    merged.num_files, merged.notes = siblings.num_files, siblings.notes
    for name in OF_ITS_OWN:
        siblings.mapping.pop(name, None)
        siblings.places.pop((name,), None)
    _lay_over(siblings, own, places)
    merged.mapping, merged.places = siblings.mapping, siblings.places


def _included(file: Path, mapping: Mapping[str, Any], places: Mapping[Keys, Place]) -> list[Path]:
    names = mapping.get("include", [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"{places[('include',)]}: include is {names!r}. Give the names of files, "
            "such as [architecture.yaml, preprocessing.yaml]."
        )
    return [file.parent / name for name in names]


def _check_inclusion(other: Path, place: Place, above: tuple[Path, ...]) -> None:
    if other.resolve() in {file.resolve() for file in above}:
        chain = " includes ".join(file.name for file in (*above, other))
        raise ConfigError(f"{place}: {chain}, without end. Take one of these inclusions away.")
    if not other.is_file():
        raise ConfigError(
            f"{place}: {other} is no file. Names are taken from the folder of the file that "
            "includes them."
        )


def _lay_over(merged: _Merged, mapping: Mapping[str, Any], places: Mapping[Keys, Place]) -> None:
    """Let what a file says go over what is there; forbidden combinations add up."""
    places = dict(places)
    for name, value in mapping.items():
        before = merged.mapping.get(name)
        if name == "forbid" and isinstance(before, list) and isinstance(value, list):
            places = _shifted(places, len(before))
            merged.mapping[name] = [*before, *value]
        elif name in BY_PATH and isinstance(value, Mapping):
            _replace_paths(merged, name, value)
        elif isinstance(before, Mapping) and isinstance(value, Mapping):
            merged.mapping[name] = _deep(before, value)
        else:
            merged.mapping[name] = value
    merged.places.update(places)


def _replace_paths(merged: _Merged, section: str, value: Mapping[str, Any]) -> None:
    for name in BY_PATH:
        known = merged.mapping.get(name)
        known = known if isinstance(known, Mapping) else {}
        if name == section:
            merged.mapping[name] = {**known, **value}
        elif known:
            merged.mapping[name] = {path: v for path, v in known.items() if path not in value}
    for keys in [k for k in merged.places if k[0] in BY_PATH and len(k) > 1 and k[1] in value]:
        del merged.places[keys]


def _shifted(places: Mapping[Keys, Place], by: int) -> dict[Keys, Place]:
    """Return the places with those of forbidden combinations counted from ``by``."""
    return {
        ("forbid", keys[1] + by, *keys[2:])
        if keys[0] == "forbid" and len(keys) > 1 and isinstance(keys[1], int)
        else keys: place
        for keys, place in places.items()
    }


def _deep(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(before)
    for name, value in after.items():
        known = both.get(name)
        is_nested = isinstance(known, Mapping) and isinstance(value, Mapping)
        both[name] = _deep(known, value) if is_nested else value  # type: ignore[arg-type]
    return both


def _conflicts(before: _Merged, after: _Merged) -> list[str]:
    """Return a sentence for each value that the later of two included files changes."""
    old, new = dict(_entries(before.mapping)), dict(_entries(after.mapping))
    return [
        f"{'.'.join(keys)} differs between {_where(before, keys)} and {_where(after, keys)}; "
        "the latter counts."
        for keys, value in new.items()
        if keys in old and old[keys] != value
    ]


def _where(merged: _Merged, keys: tuple[str, ...]) -> Place | str:
    return merged.places.get(keys, "another file")


def _entries(mapping: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for section in BY_PATH:
        entries = mapping.get(section)
        for path, value in entries.items() if isinstance(entries, Mapping) else ():
            yield (section, str(path)), value
    for section in ("base", "study"):
        yield from _leaves(mapping.get(section), (section,))


def _leaves(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*keys, str(name)))
    elif value is not None:
        yield keys, value
