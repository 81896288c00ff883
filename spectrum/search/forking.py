"""A study that begins from another one: what its manifest says of its parent.

Not here: which trials of the parent are told (``first_points``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrum.config import fingerprint
from spectrum.search.manifest import changes
from spectrum.search.space import SearchSpace
from spectrum.search.view import view_study

__all__ = ["parent_of"]


def parent_of(folder: Path, space: SearchSpace, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study that a new one is forked from, and in what the two differ.

    Parameters
    ----------
    folder : of the parent
    space, data : of the new study

    Raises
    ------
    SearchError
        Where there is no study, or it is damaged.
    """
    study = view_study(folder)
    return {
        "study": str(folder.resolve()),
        "name": study.manifest["name"],
        "digest": fingerprint(dict(study.manifest)),
        "num_trials": len(study.lines),
        "differences": changes(study.manifest, space, data),
    }
