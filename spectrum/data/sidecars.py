"""Repetition and echo times from JSON sidecars. Not here: which sidecars speak for an image."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectrum.errors import SidecarError

__all__ = ["read_echo_time", "read_repetition_time", "read_sidecar"]


def read_repetition_time(sidecars: Sequence[Path]) -> float | None:
    """Return ``RepetitionTime``, seconds, of the last sidecar that has one; None without any.

    Parameters
    ----------
    sidecars : the most general one first, so that a later one overrides an earlier one

    Raises
    ------
    SidecarError
        ``bad-sidecar``: a file is no JSON object, or its value is no positive number.
    """
    return _last_seconds("RepetitionTime", sidecars)


def read_echo_time(sidecars: Sequence[Path]) -> float | None:
    """Return ``EchoTime``, seconds, as ``read_repetition_time`` does its field."""
    return _last_seconds("EchoTime", sidecars)


def _last_seconds(name: str, sidecars: Sequence[Path]) -> float | None:
    for path in reversed(sidecars):
        value = read_sidecar(path).get(name)
        if value is not None:
            return _seconds(name, value, path)
    return None


def _seconds(name: str, value: object, path: Path) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(float(str(value))) and float(str(value)) > 0:
        return float(str(value))
    raise SidecarError(
        f"{path} has the {name} {value!r}. Expected a positive number of seconds; correct it.",
        code="bad-sidecar",
        path=str(path),
    )


def read_sidecar(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; raise SidecarError (``bad-sidecar``) on anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as err:
        raise _bad(path, f"is not readable as JSON ({' '.join(str(err).split())[:200]})") from err
    if not isinstance(value, dict):
        raise _bad(path, f"holds {type(value).__name__}")
    return value


def _bad(path: Path, finding: str) -> SidecarError:
    message = f"{path} {finding}. Expected a JSON object of BIDS metadata; correct or remove it."
    return SidecarError(message, code="bad-sidecar", path=str(path))
