"""Times from JSON sidecars: repetition, echo, slices. Not here: which speak for an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from spectrum.config.files import parse_json, read_file
from spectrum.errors import SidecarError

__all__ = ["read_echo_time", "read_repetition_time", "read_sidecar", "read_slice_times"]


MAX_BYTES: Final = 16 * 1024**2
"""A sidecar is never larger: slice times of a thousand slices are 10 kB."""

Read = Callable[[Path], Mapping[str, Any]]


def read_sidecar(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; raise SidecarError (``bad-sidecar``) on anything else."""
    try:
        value = parse_json(read_file(path, max_bytes=MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError) as err:
        raise _bad(path, f"is not readable as JSON ({' '.join(str(err).split())[:200]})") from err
    if not isinstance(value, dict):
        raise _bad(path, f"holds {type(value).__name__}")
    return value


def read_repetition_time(sidecars: Sequence[Path], *, read: Read = read_sidecar) -> float | None:
    """Return ``RepetitionTime``, seconds, of the last sidecar that has one; None without any.

    Parameters
    ----------
    sidecars : the most general one first, so that a later one overrides an earlier one
    read : reads one of them; one that remembers serves a tree of thousands of runs

    Raises
    ------
    SidecarError
        ``bad-sidecar``: a file is no JSON object, or its value is no positive number.
    """
    return _last_seconds("RepetitionTime", sidecars, read)


def read_echo_time(sidecars: Sequence[Path], *, read: Read = read_sidecar) -> float | None:
    """Return ``EchoTime``, seconds, as ``read_repetition_time`` does its field."""
    return _last_seconds("EchoTime", sidecars, read)


def read_slice_times(
    sidecars: Sequence[Path], *, read: Read = read_sidecar
) -> tuple[float, ...] | None:
    """Return ``SliceTiming``: when each slice of a volume was read, seconds from its start.

    Parameters
    ----------
    sidecars, read : as for ``read_repetition_time``

    Returns
    -------
    times_s : along the third axis of the image, from its first slice; None without the field
        ``SliceEncodingDirection: k-`` lists the slices from the last; it is turned round here.

    Raises
    ------
    SidecarError
        ``bad-sidecar``: no list of numbers >= 0. ``other-slice-axis``: slices along i or j.
    """
    values, path = _last("SliceTiming", sidecars, read)
    if values is None:
        return None
    is_list = isinstance(values, list) and len(values) > 0
    if not is_list or not all(_is_number(value) and value >= 0 for value in values):
        raise _bad(path, f"has the SliceTiming {str(values)[:80]}, no list of seconds")
    direction, where = _last("SliceEncodingDirection", sidecars, read)
    if direction not in (None, "k", "k-"):
        raise SidecarError(
            f"{where} has the SliceEncodingDirection {direction!r}. Slices are corrected along k "
            "alone; leave preprocessing.slice_timing off for these runs.",
            code="other-slice-axis",
            path=str(where),
        )
    times_s = tuple(float(value) for value in values)
    return times_s[::-1] if direction == "k-" else times_s


def _last_seconds(name: str, sidecars: Sequence[Path], read: Read) -> float | None:
    value, path = _last(name, sidecars, read)
    return None if value is None else _seconds(name, value, path)


def _last(name: str, sidecars: Sequence[Path], read: Read) -> tuple[Any, Path]:
    """Return a field of the last sidecar that has it, and that sidecar; None without any."""
    for path in reversed(sidecars):
        value = read(path).get(name)
        if value is not None:
            return value, path
    return None, Path()


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(float(str(value)))


def _seconds(name: str, value: object, path: Path) -> float:
    if _is_number(value) and float(str(value)) > 0:
        return float(str(value))
    raise SidecarError(
        f"{path} has the {name} {value!r}. Expected a positive number of seconds; correct it.",
        code="bad-sidecar",
        path=str(path),
    )


def _bad(path: Path, finding: str) -> SidecarError:
    message = f"{path} {finding}. Expected a JSON object of BIDS metadata; correct or remove it."
    return SidecarError(message, code="bad-sidecar", path=str(path))
