"""Which files of a data set are wanted, by their names alone.

By default: BOLD images with events and sidecars, scans and sessions tables, and the text files at
the top. A filter on an entity leaves out what names another value, and BOLD images and their
events that do not name it at all; all else without the entity applies to everything and stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from spectrum.config.paths import nearest
from spectrum.data.download.config import Filters
from spectrum.entities import parse_entities
from spectrum.errors import ConfigError

__all__ = ["check_filters", "is_bold", "is_wanted", "values_of"]

FILTERED: Final = {"subject": "sub-", "session": "ses-", "task": "task-", "run": "run-"}
OTHER_TREES: Final = frozenset({"derivatives", "sourcedata", "code", "stimuli", "phenotype"})
IMAGES: Final = (".nii.gz", ".nii", ".hdr", ".img")
TEXT: Final = ("", ".json", ".md", ".rst", ".tsv", ".txt")
"""Extensions of text at the top; ``README``, ``CHANGES`` and ``.bidsignore`` have none."""
SUFFIXES: Final = frozenset({"bold", "events", "scans", "sessions"})

Values = Mapping[str, frozenset[str]]
"""The values of each entity that can be filtered."""


def is_bold(path: str) -> bool:
    """Tell whether a path names a BOLD image of the data set itself."""
    return _suffix(path) == "bold" and path.endswith(IMAGES) and not _is_aside(path)


def is_wanted(path: str, filters: Filters, values: Values) -> bool:
    """Tell whether a file is wanted.

    Parameters
    ----------
    path : within the data set
    filters : of the user
    values : of all files of the data set
        ``--subject 1`` means ``sub-1`` where there is one, and ``sub-01`` where there is none.
    """
    if not (filters.everything or _is_default(path)):
        return False
    entities = _entities(path)
    return all(
        _passes(path, entities.get(name), _chosen(name, wanted, values[name]))
        for name in FILTERED
        if (wanted := getattr(filters, name))
    )


def values_of(paths: Iterable[str]) -> Values:
    """Collect the values of each entity that can be filtered."""
    all_entities = [_entities(path) for path in paths]
    return {
        name: frozenset(entities[name] for entities in all_entities if name in entities)
        for name in FILTERED
    }


def check_filters(filters: Filters, values_of_dataset: Mapping[str, Values]) -> None:
    """Raise ConfigError for a value that no data set has, naming the nearest one it has."""
    for name, prefix in FILTERED.items():
        known = frozenset().union(*(values[name] for values in values_of_dataset.values()))
        for word in getattr(filters, name):
            if not _chosen(name, (word,), known):
                raise ConfigError(_unknown(name, word.removeprefix(prefix), known))


def _unknown(name: str, word: str, known: frozenset[str]) -> str:
    if not known:
        return f"--{name} {word}: no file there has a {name}. Leave the option out."
    return (
        f"--{name} {word}: no file there has this {name}. "
        f"The nearest one is {nearest(word, sorted(known))}."
    )


def _chosen(name: str, wanted: tuple[str, ...], known: frozenset[str]) -> frozenset[str]:
    words = {word.removeprefix(FILTERED[name]) for word in wanted}
    chosen = set()
    for word in words:
        exact = {word} & known
        alike = {value for value in known if _is_same_number(word, value)}
        chosen |= exact | alike if name == "run" or not exact else exact
    return frozenset(chosen)


def _is_same_number(one: str, other: str) -> bool:
    both_digits = one.isascii() and one.isdigit() and other.isascii() and other.isdigit()
    return both_digits and int(one) == int(other)


def _passes(path: str, value: str | None, chosen: frozenset[str]) -> bool:
    if value is not None:
        return value in chosen
    suffix = _suffix(path)
    is_image = suffix == "bold" and path.endswith(IMAGES)
    return not (is_image or (suffix == "events" and path.endswith(".tsv") and "/" in path))


def _is_default(path: str) -> bool:
    if _is_aside(path):
        return False
    is_top_text = "/" not in path and PurePosixPath(path).suffix in TEXT
    return is_top_text or _suffix(path) in SUFFIXES


def _is_aside(path: str) -> bool:
    *folders, _ = path.split("/")
    return any(folder in OTHER_TREES or folder[:1] == "." for folder in folders)


def _suffix(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    stem = name.split(".", 1)[0]
    return stem.rsplit("_", 1)[-1] if "_" in stem else ""


def _entities(path: str) -> dict[str, str]:
    """Entities of the name, and of the folders for a file whose own name has none."""
    *folders, name = path.split("/")
    from_folders: dict[str, str] = {}
    for folder in folders:
        from_folders |= parse_entities(f"{folder}_folder")
    return {**from_folders, **parse_entities(name)}
