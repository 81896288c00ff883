"""Files of JSON that outlive a kill at any moment: appended lines, and whole values by rename."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spectrum.config import fingerprint
from spectrum.config.files import parse_json, read_file
from spectrum.errors import SearchError

__all__ = [
    "append_line",
    "cut_torn_tail",
    "parse_line",
    "read_json",
    "read_lines",
    "read_object",
    "write_json",
]

MAX_BYTES: Final = 2**30
"""Larger files are of another hand: 10,000 trials are 100 MB."""

DIGEST_LENGTH: Final = 16
"""Hexadecimal digits of the digest that ends each line."""


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON object with its digest as a line, and wait until it is on disk."""
    signed = {**value, "digest": _digest(value)}
    with path.open("ab") as file:
        file.write(json.dumps(signed, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path, *, signed: bool = False) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, one a line, without digests; an absent file has none.

    Parameters
    ----------
    signed : whether a line without a digest is damaged, or of another hand

    Raises
    ------
    SearchError
        Where a line is not as it was written; ``cut_torn_tail`` has to be called first after a
        kill.
    """
    if not path.is_file():
        return []
    lines = _content(path).splitlines()
    return [
        parse_line(path, number, line, signed=signed) for number, line in enumerate(lines, start=1)
    ]


def parse_line(path: Path, number: int, line: bytes, *, signed: bool) -> dict[str, Any]:
    """Return the object of one line; raise SearchError where it is not as it was written."""
    try:
        value = parse_json(line)
        if not isinstance(value, dict):
            raise ValueError(f"{type(value).__name__} where an object was expected")
        digest = value.pop("digest", None)
        if digest != _digest(value) and (signed or digest is not None):
            raise ValueError("its digest does not fit")
    except ValueError as err:
        raise SearchError(
            f"{path} is damaged in line {number}: {err}. "
            "Restore the file, or remove the study's folder and search again."
        ) from err
    return value


def cut_torn_tail(path: Path) -> int:
    """Cut the last line where a kill left it without its end; return the bytes cut."""
    if not path.is_file():
        return 0
    content = path.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    last = kept[:-1].rsplit(b"\n", 1)[-1]
    if kept and not _is_json(last):
        kept = kept[: len(kept) - len(last) - 1]
    if len(kept) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(kept))
            os.fsync(file.fileno())
    return len(content) - len(kept)


def write_json(path: Path, value: Any) -> None:
    """Write a value whole or not at all."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a value that ``write_json`` wrote; raise SearchError where it is absent or damaged."""
    try:
        return parse_json(_content(path).decode("utf-8"))
    except ValueError as err:
        raise SearchError(
            f"{path} is damaged: {err}. Restore the file, or remove the study's folder and "
            "search again."
        ) from err


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object as ``read_json`` does."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise SearchError(
            f"{path} holds {type(value).__name__}, not an object. Restore the file, or remove "
            "the study's folder and search again."
        )
    return value


def _content(path: Path) -> bytes:
    try:
        return read_file(path, max_bytes=MAX_BYTES)
    except OSError as err:
        raise SearchError(
            f"{path} cannot be read: {err.strerror}. Give the folder of a study."
        ) from err


def _digest(value: Mapping[str, Any]) -> str:
    return fingerprint(value)[:DIGEST_LENGTH]


def _is_json(line: bytes) -> bool:
    try:
        parse_json(line)
    except ValueError:
        return False
    return True
