"""Config paths: dotted names of fields, and values set by them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["config_paths", "get_path", "nearest", "set_paths"]


def config_paths(config: type[BaseModel]) -> tuple[str, ...]:
    """Return the dotted names of all leaf fields of a configuration class.

    Examples
    --------
    >>> from spectrum.config import TrialConfig
    >>> "preprocessing.fwhm_mm" in config_paths(TrialConfig)
    True
    """
    return tuple(_iter_paths(config, prefix=""))


def _iter_paths(config: type[BaseModel], *, prefix: str) -> Iterable[str]:
    for name, field in config.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _iter_paths(inner, prefix=f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def get_path(config: BaseModel, path: str) -> Any:
    """Return the value at a dotted name."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def set_paths(mapping: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested copy of ``mapping`` in which each dotted name has its new value."""
    nested = {key: dict(v) if isinstance(v, Mapping) else v for key, v in mapping.items()}
    inside: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        if rest:
            inside.setdefault(head, {})[rest] = value
        else:
            nested[head] = value
            inside.pop(head, None)
    for head, further in inside.items():
        inner = nested.get(head)
        nested[head] = set_paths(inner if isinstance(inner, Mapping) else {}, further)
    return nested


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most like ``word``; the first one where none is alike."""
    words = list(known)
    return (difflib.get_close_matches(word, words, n=1, cutoff=0.0) or words)[0]
