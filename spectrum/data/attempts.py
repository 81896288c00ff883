"""Attempts at a task, noted on disk: how often a task ended the process that worked at it.

A note is there while a process works. One that its process left behind is a death. Not here: who
gives the tasks out, and how often (``fan_out``).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["noted", "num_deaths"]


def num_deaths(folder: Path, task: str) -> int:
    """Return how many attempts at a task have not come to an end.

    Parameters
    ----------
    folder : of the notes
    task : a name without dots; while nobody works at it
    """
    return len(list(folder.glob(f"{task}.*")))


@contextmanager
def noted(folder: Path, task: str) -> Iterator[None]:
    """Note that this process works at a task; an error is an end like any other."""
    note = folder / f"{task}.{uuid.uuid4().hex}"
    note.touch()
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
