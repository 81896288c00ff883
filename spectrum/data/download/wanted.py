"""Which files a download was asked for, kept until all of them have arrived.

Without it an interrupted download would look like a smaller one that is whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from spectrum.data.download.names import STATE_FOLDER
from spectrum.data.runs import Problem

__all__ = ["forget_wanted_when_there", "not_arrived", "write_wanted"]

WANTED_NAME: Final = "wanted.json"


def write_wanted(state_folder: Path, paths: Sequence[str]) -> None:
    """Remember what is asked for, besides what is still missing of an earlier request."""
    earlier = _missing(state_folder.parent)
    text = json.dumps(sorted({*earlier, *paths}))
    aside = state_folder / f".{WANTED_NAME}"
    aside.write_text(text, encoding="utf-8")
    aside.replace(state_folder / WANTED_NAME)


def forget_wanted_when_there(root: Path) -> None:
    """Forget what was asked for, where all of it has arrived."""
    if not _missing(root):
        (root / STATE_FOLDER / WANTED_NAME).unlink(missing_ok=True)


def not_arrived(root: Path) -> list[Problem]:
    """Return a problem for each file that was asked for and is not there."""
    return [
        Problem(
            code="not-arrived",
            path=path,
            message=f"{path} has not arrived yet. The same download goes on where it stopped.",
        )
        for path in _missing(root)
    ]


def _missing(root: Path) -> list[str]:
    try:
        wanted = json.loads((root / STATE_FOLDER / WANTED_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(wanted, list):
        return []
    return [str(path) for path in wanted if not (root / str(path)).is_file()]
