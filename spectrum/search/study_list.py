"""Studies as a reader lists, shows, compares and removes them.

Not here: the trials of one study in detail (``view``, and the report).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrum.errors import SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.ladders import ladder_scores
from spectrum.search.manifest import manifest_differences
from spectrum.search.sealing import told_seal
from spectrum.search.stored import remove_stored
from spectrum.search.view import StudyView, view_study
from spectrum.storage import address_of, told_place

__all__ = ["diff_studies", "list_studies", "overview", "remove_study", "show_study"]


def list_studies(folder: Path) -> list[dict[str, Any]]:
    """Return the studies of a folder by name, each as ``show_study`` does but shorter.

    A study that cannot be read has ``problem`` in place of everything but its name.
    """
    found = []
    for path in sorted(folder.glob("*/study.json")):
        try:
            found.append(overview(view_study(path.parent)))
        except SearchError as err:
            found.append({"study": path.parent.name, "problem": str(err)})
    return found


def overview(study: StudyView) -> dict[str, Any]:
    """Return what a line about a study tells: when it began, its trials by state, the best."""
    states = Counter(line["state"] for line in study.lines)
    best = study.best
    return {
        "study": study.path.name,
        "created": study.manifest["created"],
        "state": "running" if StudyFolder(study.path).is_locked else "idle",
        "num_complete": states["complete"],
        "num_pruned": states["pruned"],
        "num_failed": states["failed"],
        "num_unfinished": len(study.unfinished),
        "num_reruns": len(study.reruns),
        "best_trial": best["number"] if best is not None else None,
        "selected_score": best["value"] if best is not None else None,
    }


def show_study(folder: Path) -> dict[str, Any]:
    """Return what a study is: its inputs, its trials, and what it selected beside its floor."""
    study = view_study(folder)
    manifest, floor = study.manifest, study.floor or {}
    return {
        **overview(study),
        "description": manifest["space"].get("description", ""),
        "sampler": manifest["space"]["study"]["sampler"],
        "pruner": manifest["space"]["study"]["pruner"]["rule"],
        "objectives": manifest["space"]["study"].get("objectives", ["score"]),
        "seed": manifest["seed"],
        "num_runs": len(manifest["data"].get("runs", {})),
        "versions": {k: v for k, v in manifest["versions"].items() if k != "steps"},
        "git_revision": manifest["git_revision"],
        "parent": manifest.get("parent"),
        "sealed": told_seal(study.path),
        "floor": _value(floor.get("floor")),
        "ladder": ladder_scores(folder),
        "chance": floor.get("chance"),
        "default": _value((study.default or {}).get("score")),
        "best": _best(study),
        "front": list(study.front),
    }


def diff_studies(one: Path, other: Path) -> dict[str, Any]:
    """Return how two studies differ: inputs by path with both values, and what each selected."""
    studies = [view_study(one), view_study(other)]
    return {
        "studies": [told_place(one), told_place(other)],
        "inputs": manifest_differences(studies[0].manifest, studies[1].manifest),
        "num_trials": [len(study.lines) for study in studies],
        "best": [_best(study) for study in studies],
    }


def remove_study(folder: Path) -> int:
    """Remove a study that nothing works on; return the trials it had.

    Raises
    ------
    SearchError
        Where there is no study, or a search works on it.
    """
    study = StudyFolder(folder)
    if not study.exists:
        raise SearchError(
            f"{told_place(folder)} holds no study (study.json), so nothing was removed."
        )
    with study.locked():
        num_trials = len(list(study.trials.glob("*")))
        if address := address_of(study.path):
            remove_stored(address)
        shutil.rmtree(study.path)
    return num_trials


def _best(study: StudyView) -> dict[str, Any] | None:
    best = study.best
    if best is None:
        return None
    mean = study.selection.mean_of(best["number"]) if study.selection else None
    default = study.selection.mean_of(0) if study.selection else None
    return {
        "trial": best["number"],
        "score": best["value"],
        "ci95": list(best["score"]["ci95"]),
        "selected": True,
        "rerun_mean": mean,
        "default_rerun_mean": default,
        "params": dict(best["params"]),
    }


def _value(score: Mapping[str, Any] | None) -> float | None:
    return None if score is None else float(score["value"])
