"""Which names may become files: none that leaves the folder, hides in it, or meets another one.

Names come from a server and are never trusted. Not here: links that stand in the way on this
disk (``placing``).
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from spectrum.data.runs import Problem

__all__ = ["REPORT_NAME", "STATE_FOLDER", "refuse_clashing", "refuse_unsafe"]

STATE_FOLDER: Final = ".spectrum-download"
"""Holds what is not whole yet; hidden, and nothing in it is named like an image."""
REPORT_NAME: Final = "download.json"

MAX_NAME_BYTES: Final = 255
"""NAME_MAX of the common file systems (ext4, xfs, APFS, NTFS)."""
MAX_PATH_BYTES: Final = 1024
"""The longest key in S3, and PATH_MAX of macOS."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"^[A-Za-z]:")


def refuse_unsafe(paths: Iterable[str]) -> list[Problem]:
    """Return the names that must not become files whatever else there is.

    Parameters
    ----------
    paths : within one data set, with ``/`` between folders
    """
    reasons = {path: _reason(path) for path in paths}
    return [_problem(path, reason) for path, reason in reasons.items() if reason]


def refuse_clashing(paths: Iterable[str]) -> list[Problem]:
    """Return the names that are one and the same on some disks.

    All of them are refused, since none is the right one: names that differ only in case or
    Unicode normalisation, in any of their folders, and a name that is a file and a folder.

    Parameters
    ----------
    paths : sound by themselves
    """
    given = list(paths)
    spellings: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for path in given:
        for prefix, is_folder in _prefixes(path):
            spellings[_folded(prefix)].add((prefix, is_folder))
    clashing = {folded for folded, found in spellings.items() if len(found) > 1}
    reason = "is equal to another name but for case, Unicode form, or file and folder"
    return [
        _problem(path, reason)
        for path in given
        if any(_folded(prefix) in clashing for prefix, _ in _prefixes(path))
    ]


def _problem(path: str, reason: str) -> Problem:
    shown = _shown(path)
    return Problem(code="unsafe-name", path=path, message=f"{shown} {reason}. It is not fetched.")


def _shown(path: str) -> str:
    text = ascii(path)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _reason(path: str) -> str:
    """Say why a name alone is unsafe; empty where it is safe."""
    parts = path.split("/")
    if _CONTROL.search(path):
        return "holds a control character"
    if "\\" in path:
        return "holds a backslash"
    if path[:1] == "/" or _DRIVE.match(path):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' part, which leaves its folder"
    return _reason_of_parts(path, parts)


def _reason_of_parts(path: str, parts: list[str]) -> str:
    try:
        longest, total = max(len(part.encode()) for part in parts), len(path.encode())
    except UnicodeEncodeError:
        return "is no valid Unicode"
    if longest > MAX_NAME_BYTES or total > MAX_PATH_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes a part or {MAX_PATH_BYTES} in all"
    folded = [_folded(part) for part in parts]
    if ".git" in folded:
        return "would write into a git repository"
    if folded[0] in (STATE_FOLDER, REPORT_NAME):
        return "is a name that the download itself needs"
    return ""


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _prefixes(path: str) -> list[tuple[str, bool]]:
    parts = path.split("/")
    folders = [("/".join(parts[:n]), True) for n in range(1, len(parts))]
    return [*folders, (path, False)]
