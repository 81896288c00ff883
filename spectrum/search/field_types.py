"""Which type each config path has, and values brought to it.

Not here: which of them a space searches (``space``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from spectrum.config import TrialConfig, config_from_mapping, config_paths, nearest
from spectrum.errors import ConfigError
from spectrum.search.derived import DerivedValue
from spectrum.search.parameters import Parameter

__all__ = [
    "PATHS",
    "adapter_of",
    "check_path",
    "description_of",
    "is_whole",
    "typed_derived",
    "typed_parameter",
    "typed_value",
    "typed_wanted",
]

PATHS: Final = config_paths(TrialConfig)


def check_path(name: str, known: Sequence[str] = PATHS, at: tuple[str | int, ...] = ()) -> None:
    """Raise ConfigError with the nearest known path where a name is none."""
    if name not in known:
        raise ConfigError(
            f"{name} is no config path. The nearest known one is {nearest(name, known)}.", at=at
        )


@cache
def adapter_of(path: str) -> TypeAdapter[Any]:
    """Return what checks a value of a config path."""
    field = _field_of(path)
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated[(annotation, *field.metadata)]
    return TypeAdapter(annotation)


def is_whole(path: str) -> bool:
    """Return whether a config path holds whole numbers."""
    return _field_of(path).annotation is int


def description_of(path: str) -> str:
    """Return what a config path means."""
    return " ".join(str(_field_of(path).description or "").split())


def _field_of(path: str) -> Any:
    *sections, name = path.split(".")
    kind: type[BaseModel] = TrialConfig
    for section in sections:
        inner = kind.model_fields[section].annotation
        assert isinstance(inner, type)
        kind = inner
    return kind.model_fields[name]


def typed_value(path: str, value: Any, at: tuple[str | int, ...] = ()) -> Any:
    """Return a value in the type of its field; raise ConfigError where it has none."""
    try:
        return adapter_of(path).validate_python(value)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        raise ConfigError(
            f"{path} cannot be {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.",
            at=at,
        ) from None


def typed_wanted(path: str, wanted: Any, at: tuple[str | int, ...] = ()) -> Any:
    """Return the value, or the list of values, of a condition in the type of its field."""
    if isinstance(wanted, list | tuple):
        return tuple(typed_value(path, value, at) for value in wanted)
    return typed_value(path, wanted, at)


def typed_parameter(path: str, parameter: Parameter) -> Parameter:
    """Return a parameter with every value in the type of its field."""
    at = ("parameters", path)
    kind = "choice" if parameter.choice is not None else "ordered"
    values: dict[str, Any] = {
        "when": {
            name: typed_wanted(name, wanted, (*at, "when", name))
            for name, wanted in parameter.when.items()
        }
    }
    if parameter.options is None:
        for end in parameter.ends:
            typed_value(path, end, at)
    else:
        values[kind] = tuple(typed_value(path, v, (*at, kind)) for v in parameter.options)
    return config_from_mapping(Parameter, {**parameter.model_dump(), **values})


def typed_derived(path: str, derived: DerivedValue) -> DerivedValue:
    """Return a derived value whose table is in the types of its two fields."""
    if derived.values is None:
        return derived
    at = ("derive", path, "values")
    values = {
        typed_value(derived.source, known, at): typed_value(path, value, at)
        for known, value in derived.values.items()
    }
    return DerivedValue(lookup=derived.source, values=values)
