"""Targets by name, from this package, or by path, from a user's YAML file."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from spectrum.config import nearest, read_yaml
from spectrum.errors import ConfigError, TargetError
from spectrum.targets.rules import EventRule, RunRule, Target

__all__ = ["read_target", "shipped_targets"]

_FOLDER = Path(__file__).parent


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
        return Target.model_validate(mapping)
    except ConfigError as err:
        raise TargetError(str(err), code="bad-target", path=str(path)) from err
    except ValidationError as err:
        sentence = _sentence(err.errors(include_url=False)[0])
        raise TargetError(f"{path}: {sentence}.", code="bad-target", path=str(path)) from None


def _sentence(error: ErrorDetails) -> str:
    place, known = _place(error["loc"])
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{place} is no known key. The nearest is {nearest(str(error['loc'][-1]), known)!r}"
    if error["type"] == "missing":
        return f"{place} is missing"
    hint = ". Write it in quotes" if error["type"] == "string_type" else ""
    problem = f"{error['msg'][:1].lower()}{error['msg'][1:]}"
    return f"{place} is {str(error['input'])[:80]!r}: {problem}{hint}"


def _place(loc: tuple[int | str, ...]) -> tuple[str, tuple[str, ...]]:
    """Name the place of an error, and the keys known there."""
    names = [str(part) for part in loc]
    if loc[:1] == ("rules",) and len(loc) > 1:
        row = f"row {int(loc[1]) + 1} of rules"
        return ": ".join([row, *names[2:]]), _keys(RunRule)
    return ".".join(names), _keys(EventRule if loc[:1] == ("event",) else Target)


def _keys(kind: type[BaseModel]) -> tuple[str, ...]:
    return tuple(field.alias or name for name, field in kind.model_fields.items())
