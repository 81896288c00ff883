"""What a study was begun with, the refusal to continue it otherwise, how two studies differ."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import spectrum
from spectrum.config import MODEL_VERSION
from spectrum.data.recipe import STEP_VERSIONS
from spectrum.errors import SearchError
from spectrum.search.space import SearchSpace

__all__ = [
    "build_manifest",
    "changes",
    "differences",
    "listed_changes",
    "manifest_differences",
    "refuse_change",
]

LIBRARIES: Final = ("numpy", "optuna", "pyarrow", "ray", "timm", "torch")
"""Libraries whose versions are noted."""

FREE_TO_CHANGE: Final = (
    "description",
    "study.num_trials",
    "study.max_failed",
    "study.disk_gib",
    "study.gpus_per_worker",
    "study.concurrent_trials",
    "study.placement",
    "study.leaders",
    "study.epoch_minutes",
    "study.max_hours",
    "study.max_gpu_hours",
    "study.stop_when.regret_below",
    "study.patience_trials",
    "study.rerun.top",
    "study.rerun.seeds",
    "study.ladder",
    "base.training.feeding",
    "base.training.stream_gib",
    "base.training.idle_folds",
    "base.training.max_failures",
)
"""Parts of a space that decide no number of a trial."""

MAX_DIFFERENCES: Final = 5
"""Differences that a refusal names."""


def build_manifest(  # noqa: PLR0913 - what a study begins with, one name each
    space: SearchSpace,
    *,
    name: str,
    data: Mapping[str, Any],
    refused: Sequence[Mapping[str, Any]] = (),
    files: Mapping[str, str] | None = None,
    parent: Mapping[str, Any] | None = None,
    created: datetime | None = None,
) -> dict[str, Any]:
    """Return what study.json says, without schema and digest.

    Parameters
    ----------
    name : of the study
    data : fingerprints of what the trials read
    refused : runs that could not be used, each with code, path and message
    files : digest of each file that is written once, by name
    parent : the study that this one is forked from: its folder, digest, and the differences
    created : now, if None
    """
    return {
        "name": name,
        "created": (created or datetime.now(UTC)).isoformat(timespec="seconds"),
        "seed": space.study.seed,
        "space": space.model_dump(mode="json"),
        "versions": versions(),
        "git_revision": git_revision(Path(spectrum.__file__).parent),
        "data": dict(data),
        "refused": [dict(problem) for problem in refused],
        **({"files": dict(files)} if files else {}),
        **({"parent": dict(parent)} if parent else {}),
    }


def refuse_change(
    begun: Mapping[str, Any], space: SearchSpace, data: Mapping[str, Any] | None
) -> None:
    """Raise SearchError with the differences where space, data or code is not what a study had.

    Parameters
    ----------
    begun : manifest of the study
    data : None where nothing will be read
    """
    found = changes(begun, space, data)
    if found:
        raise SearchError(
            f"The study {begun['name']} was begun with other inputs: "
            f"{listed_changes(found)}. Restore them to continue it, search "
            "under another name, or begin a new study from this one's trials with --fork."
        )


def listed_changes(found: Sequence[str]) -> str:
    """Return the first few differences in one line, and how many more there are."""
    more = f"; and {len(found) - MAX_DIFFERENCES} more" if len(found) > MAX_DIFFERENCES else ""
    return f"{'; '.join(found[:MAX_DIFFERENCES])}{more}"


def changes(
    begun: Mapping[str, Any], space: SearchSpace, data: Mapping[str, Any] | None
) -> list[str]:
    """Return how space, data and code differ from what a study was begun with, one each.

    Parameters
    ----------
    data : None leaves them out
    """
    now = {"space": space.model_dump(mode="json"), "code": _code(versions())}
    before = {"space": begun["space"], "code": _code(begun["versions"])}
    if data is not None:
        now["data"], before["data"] = dict(data), begun["data"]
    return [
        line
        for path, line in differences(before, now)
        if path.removeprefix("space.") not in FREE_TO_CHANGE
    ]


def manifest_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return what differs between two manifests: by path the values of both, absent ones null."""
    left_out = ("name", "created", "files", "refused")
    kept = [{k: v for k, v in manifest.items() if k not in left_out} for manifest in (one, other)]
    return {path: [before, now] for path, before, now in _changed(kept[0], kept[1], "")}


def versions() -> dict[str, Any]:
    """Return the versions of Spectrum, Python, the libraries, the steps of a recipe, the model."""
    return {
        "spectrum": spectrum.__version__,
        "python": platform.python_version(),
        **{name: _version_of(name) for name in LIBRARIES},
        "steps": dict(STEP_VERSIONS),
        "model": MODEL_VERSION,
    }


def git_revision(folder: Path) -> str | None:
    """Return the commit that a folder's files are from; None where git does not track them."""
    git = shutil.which("git")
    if git is None:
        return None
    for arguments in (["ls-files", "--error-unmatch", "."], ["rev-parse", "HEAD"]):
        told = subprocess.run(
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
        if told.returncode:
            return None
    return told.stdout.strip()


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _code(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told.get(name) for name in ("spectrum", "steps", "model")}


def differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each value that changed, and a phrase that names both values."""
    for changed, old, new in _changed(before, now, path):
        yield changed, f"{changed} was {_short(old)} and is {_short(new)}"


def _changed(before: Any, now: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys((*before, *now)):
            inner = f"{path}.{name}" if path else str(name)
            yield from _changed(before.get(name), now.get(name), inner)
    elif before != now:
        yield path, before, now


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
