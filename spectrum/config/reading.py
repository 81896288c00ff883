"""Configurations from YAML files, mappings and ``--set key=value``; errors are one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from spectrum.config.paths import config_paths, nearest, set_paths
from spectrum.errors import ConfigError

__all__ = [
    "config_from_mapping",
    "parse_settings",
    "read_config",
    "read_yaml",
    "read_yaml_lines",
    "write_yaml",
]

C = TypeVar("C", bound=BaseModel)

MAX_YAML_BYTES = 1_000_000
"""A configuration is never larger; the limit keeps out files that expand without end."""


Lines = dict[tuple[str | int, ...], int]
"""Line of each value of a file, from 1, by the keys and indices that lead to it."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping with the safe loader; raise ConfigError on anything else."""
    return read_yaml_lines(path)[0]


def read_yaml_lines(path: Path) -> tuple[dict[str, Any], Lines]:
    """Read a YAML mapping with the safe loader, and where each of its values stands.

    Raises
    ------
    ConfigError
        With the line, where the file is no YAML.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is no file. Give the path of a YAML file.")
    if path.stat().st_size > MAX_YAML_BYTES:
        raise ConfigError(
            f"{path} has {path.stat().st_size} bytes. A YAML file may have 1 MB at most."
        )
    try:
        loader = _StrictLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        value = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as err:
        raise ConfigError(_unreadable(path, err)) from err
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path} holds {type(value).__name__}, not a mapping of names to values."
        )
    lines: Lines = {}
    assert node is not None
    _note_lines(node, (), lines, set())
    return value, lines


def _unreadable(path: Path, err: Exception) -> str:
    mark = getattr(err, "problem_mark", None)
    place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
    return f"{place} is not readable as YAML: {' '.join(str(err).split())}."


def _note_lines(
    node: yaml.Node, keys: tuple[str | int, ...], lines: Lines, seen: set[int]
) -> None:
    """Note the line of a node and of all below it; what an alias repeats is noted once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*keys, str(key.value))
            lines[inner] = key.start_mark.line + 1
            _note_lines(value, inner, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*keys, index)] = value.start_mark.line + 1
            _note_lines(value, (*keys, index), lines, seen)


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, which refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys all differ."""
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def write_yaml(value: Mapping[str, Any]) -> str:
    """Return a mapping as YAML text in its own order."""
    return yaml.safe_dump(
        dict(value), sort_keys=False, allow_unicode=False, default_flow_style=None
    )


def read_config(kind: type[C], path: Path, *, settings: Sequence[str] = ()) -> C:
    """Read a configuration file and apply ``key=value`` settings to it."""
    return config_from_mapping(kind, set_paths(read_yaml(path), parse_settings(settings)))


def parse_settings(settings: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Split ``key=value`` words; values are YAML, so numbers and lists keep their type.

    Parameters
    ----------
    settings : the words
    option : that gave them, for errors
    """
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"{option} {setting} is not of the form key=value, such as optimizer.lr=0.001."
            )
        values[key.strip()] = _parse_value(key, text, option)
    return values


def _parse_value(key: str, text: str, option: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise ConfigError(
            f"{option} {key}={text[:80]}: the value is not readable as YAML."
        ) from err


def config_from_mapping(kind: type[C], mapping: Mapping[str, Any]) -> C:
    """Build a configuration; raise ConfigError naming the first thing that is wrong."""
    try:
        return kind.model_validate(dict(mapping))
    except ValidationError as err:
        at = err.errors(include_url=False)[0]["loc"]
        raise ConfigError(_sentence(kind, err), at=at) from None


def _sentence(kind: type[BaseModel], err: ValidationError) -> str:
    first = err.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = nearest(path, config_paths(kind))
        return f"{path} is no config path. The nearest known one is {near}."
    if first["type"] == "missing":
        return f"{path} is missing. {kind.__name__} needs it."
    if first["type"] == "value_error":
        return f"{first['msg'].removeprefix('Value error, ')}."
    found = repr(first["input"])[:80]
    return f"{path} is {found}: {first['msg'][0].lower()}{first['msg'][1:]}."
