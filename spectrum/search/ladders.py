"""The ladder of baselines that a study keeps beside its trials, in ``ladder.json``.

Not here: fitting the rungs (``spectrum.evaluation.ladder``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder

__all__ = ["LADDER_NAME", "keep_ladder", "ladder_scores", "read_ladder"]

LADDER_NAME: Final = "ladder.json"
"""File of a study that holds its ladder, with a digest."""


def keep_ladder(study: Path, told: Mapping[str, Any], *, content_hash: str) -> Path:
    """Write a ladder into the folder of a study that it belongs to.

    Rungs of an earlier ladder that this one does not have are kept.

    Parameters
    ----------
    study : folder
    told : JSON of a ladder
    content_hash : of the shard set that it was fitted on

    Raises
    ------
    SearchError
        Where the ladder is of another shard set, target or scheme than the study's default
        configuration.
    """
    folder = StudyFolder(study)
    manifest, floor = folder.read_manifest(), folder.read("floor.json")
    pairs = (
        ("shard set", content_hash, manifest["data"]["content"]),
        ("target", told["target"], floor["target"]),
        ("scheme", told["scheme"], floor["scheme"]),
    )
    for what, found, expected in pairs:
        if found != expected:
            raise SearchError(
                f"The ladder is of the {what} {found}, and the study {study} of {expected}, so it "
                "was not kept there. Give the study's default shard set, --target and --scheme."
            )
    before = read_ladder(study) or {"rungs": []}
    names = {rung["name"] for rung in told["rungs"]}
    kept = [rung for rung in before["rungs"] if rung["name"] not in names]
    folder.write_checked(LADDER_NAME, {**told, "rungs": [*told["rungs"], *kept]})
    return study / LADDER_NAME


def read_ladder(study: Path) -> dict[str, Any] | None:
    """Return the ladder of a study; None where none was fitted.

    Raises
    ------
    SearchError
        Where the file was changed or damaged.
    """
    folder = StudyFolder(study)
    return folder.read_checked(LADDER_NAME) if folder.has(LADDER_NAME) else None


def ladder_scores(study: Path) -> dict[str, float] | None:
    """Return the score of each rung of a study by name; None where none was fitted."""
    told = read_ladder(study)
    return None if told is None else {rung["name"]: rung["score"] for rung in told["rungs"]}
