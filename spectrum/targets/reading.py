"""Targets by name, from this package, or by path, from a user's YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from spectrum.config import nearest, read_yaml
from spectrum.errors import ConfigError, TargetError
from spectrum.targets.rules import EventRule, ExclusionRule, RunRule
from spectrum.targets.target import Target

__all__ = ["read_target", "shipped_targets"]

_FOLDER = Path(__file__).parent

_TOP: Final = "at the top of the file"

_LEVELS: Final[Mapping[str, type[BaseModel]]] = {
    _TOP: Target,
    "in a row of rules": RunRule,
    "in a row of excluded": ExclusionRule,
    "in event": EventRule,
}
"""The places of a target file that have keys of their own."""

_EXPECTED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "dict_type": "a mapping, key: value",
    "float_type": "a number, without its unit",
    "int_type": "a whole number, without quotes",
    "invalid_key": "text as a key. Write it in quotes",
    "model_type": "a mapping, key: value",
    "string_pattern_mismatch": "a BIDS label, without sub-, ses- or task-",
    "string_type": "text. Write it in quotes",
    "tuple_type": "a list",
}
"""What YAML calls the types that pydantic's errors speak of."""


def shipped_targets() -> tuple[str, ...]:
    """Return the names of the targets that come with Spectrum, in order.

    Examples
    --------
    >>> shipped_targets()
    ('condition', 'early_late', 'stage')
    """
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def read_target(name_or_path: str) -> Target:
    """Read a target.

    Parameters
    ----------
    name_or_path : name of a shipped target, or path of a YAML file
        A word with a slash or with the ending ``.yaml`` or ``.yml`` is a path.

    Raises
    ------
    ConfigError
        No target has this name, or no file this path.
    TargetError
        The file is no target; the sentence names the row.
    """
    if name_or_path in shipped_targets():
        return _read_file(_FOLDER / f"{name_or_path}.yaml")
    path = Path(name_or_path)
    if path.is_dir():
        raise ConfigError(
            f"{path} is a folder, and a target is a name or a YAML file. "
            f"Give one of {', '.join(shipped_targets())}, or the path of a YAML file."
        )
    if path.suffix not in (".yaml", ".yml") and "/" not in name_or_path:
        raise ConfigError(
            f"{name_or_path!r} is no shipped target; the nearest is "
            f"{nearest(name_or_path, shipped_targets())!r}. "
            f"Give one of {', '.join(shipped_targets())}, or the path of a YAML file."
        )
    if not path.is_file():
        raise ConfigError(f"There is no target file {path}. Give the path of a YAML file.")
    return _read_file(path)


def _read_file(path: Path) -> Target:
    try:
        mapping = {"name": path.stem, **read_yaml(path)}
        return Target.model_validate(mapping, by_alias=True, by_name=False)
    except ConfigError as err:
        raise TargetError(str(err), code="bad-target", path=str(path)) from err
    except ValidationError as err:
        # An unknown key first: the key that it was meant for is then reported as missing.
        errors = err.errors(include_url=False)
        first = min(errors, key=lambda error: error["type"] != "extra_forbidden")
        message = f"{path}: {_sentence(first)}."
        raise TargetError(message, code="bad-target", path=str(path)) from None


def _sentence(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    place, level = _place(error["loc"]), _level(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{place} is no known key. {_key_hint(str(error['loc'][-1]), level)}"
    if error["type"] == "missing":
        meaning = _fields(_LEVELS[level])[str(error["loc"][-1])].description or ""
        return f"{place} is missing. Add it: {' '.join(meaning.split()).rstrip('.')}"
    found = "empty" if error["input"] is None else repr(error["input"])[:80]
    if error["type"] in _EXPECTED:
        return f"{place} is {found}. Expected {_EXPECTED[error['type']]}"
    return f"{place} is {found}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _place(loc: tuple[int | str, ...]) -> str:
    """Name the place of an error, such as ``row 2 of rules: session``."""
    names = [str(part) for part in loc]
    if loc[0] in ("rules", "excluded") and len(loc) > 1:
        return ": ".join([f"row {int(loc[1]) + 1} of {loc[0]}", *names[2:]])
    return ".".join(names)


def _level(loc: tuple[int | str, ...]) -> str:
    """Name the place whose keys an error is about."""
    if len(loc) < 2 or loc[0] not in ("rules", "excluded", "event"):
        return _TOP
    return "in event" if loc[0] == "event" else f"in a row of {loc[0]}"


def _key_hint(key: str, level: str) -> str:
    known = tuple(_fields(_LEVELS[level]))
    elsewhere = [name for name, kind in _LEVELS.items() if key in _fields(kind)]
    if elsewhere:
        return f"It belongs {elsewhere[0]}; known {level} are {', '.join(known)}"
    return f"The nearest is {nearest(key, known)!r}; known {level} are {', '.join(known)}"


def _fields(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a level by the keys that files use."""
    return {field.alias or name: field for name, field in kind.model_fields.items()}
