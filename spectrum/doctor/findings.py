"""One finding of the doctor: what was seen, how bad it is, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Finding", "Level", "error", "ok", "warning"]

Level: TypeAlias = Literal["ok", "warning", "error"]
"""``error``: something will not work; ``warning``: slower or riskier than need be."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``code`` is kebab-case; ``remedy`` is what to type or change, empty where all is well."""

    code: str
    level: Level
    message: str
    remedy: str = ""


def ok(code: str, message: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(code, "ok", message)


def warning(code: str, message: str, remedy: str) -> Finding:
    """Return a finding of something slower or riskier than need be."""
    return Finding(code, "warning", message, remedy)


def error(code: str, message: str, remedy: str) -> Finding:
    """Return a finding of something that will not work."""
    return Finding(code, "error", message, remedy)
