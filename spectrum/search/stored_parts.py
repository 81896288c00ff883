"""The parts of a study in an object store, each a mirror: its own files, and those of each trial.

Ray's files, locks, and the marks of what Aim has are of one machine and stay there. Not here: who
pushes what when (``stored``, ``stored_trials``).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from spectrum.search.folder import BOOK_OF_MIRROR, SECONDS_NAME, STATE_NAME
from spectrum.storage import Mirror, ObjectStore

__all__ = [
    "CHECKPOINTS_NAME",
    "TRIALS",
    "is_of_one_machine",
    "mirror_of_study",
    "mirror_of_trial",
]

CHECKPOINTS_NAME: Final = "checkpoints"
TRIALS: Final = "trials"
TOGETHER: Final = ("optuna.journal", "trials.jsonl")


def is_of_one_machine(path: str) -> bool:
    """Return whether a file of a study is of this machine alone, or stored with its trial."""
    parts = path.split("/")
    if (
        parts[0] in ("aim", "ray")
        or path.endswith(".lock")
        or any(p.startswith(".") for p in parts)
    ):
        return True
    if parts[0] != TRIALS or len(parts) < 4 or parts[3:] == [SECONDS_NAME]:
        return False
    return parts[2] in (STATE_NAME, CHECKPOINTS_NAME)


def mirror_of_study(
    folder: Path, store: ObjectStore, *, allowed: Callable[[], None] = lambda: None
) -> Mirror:
    """Return the mirror of a study's own files.

    Parameters
    ----------
    allowed : raises StorageError where this process may not push any more
    """
    return Mirror(folder, store, skips=is_of_one_machine, together=TOGETHER, allowed=allowed)


def mirror_of_trial(folder: Path, store: ObjectStore, name: str) -> Mirror:
    """Return the mirror of a part of a trial, by its folder's name, in the store of its study."""
    return Mirror(
        folder / name,
        store.under(f"{TRIALS}/{folder.name}/{name}"),
        # The driver's, which stores it with the study.
        skips=lambda path: path == SECONDS_NAME,
        book=folder / f"{BOOK_OF_MIRROR}{name}.json",
    )
