"""The ladder of baselines that a study keeps beside its trials, in ``ladder.json``.

Not here: how a rung is fitted (``spectrum.evaluation.ladder``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spectrum.errors import LeakageError, SearchError
from spectrum.search.folder import StudyFolder

if TYPE_CHECKING:
    from spectrum.config import TrialConfig
    from spectrum.data.shards import ShardSet
    from spectrum.data.units import Fold
    from spectrum.targets import Target

__all__ = [
    "LADDER_NAME",
    "begin_ladder",
    "fit_linear",
    "fit_or_say",
    "keep_ladder",
    "ladder_scores",
    "read_ladder",
    "rungs_above_floor",
    "told_rungs",
]

LADDER_NAME: Final = "ladder.json"
"""File of a study that holds its ladder, with a digest."""


def begin_ladder(
    study: Path, fit: Callable[[], Mapping[str, Any]], *, content_hash: str
) -> tuple[str, ...]:
    """Fit and keep the ladder of a study that has none; return a sentence for each rung missing.

    Parameters
    ----------
    study : folder
    fit : returns the JSON of a ladder; a failure of it is a sentence and ends nothing
    content_hash : of the shard set that it is fitted on

    Raises
    ------
    LeakageError
        A group stands on two sides of a fold, or a sealed person among the runs.
    """
    if StudyFolder(study).has(LADDER_NAME):
        return ()
    told, notes = fit_or_say(fit)
    if told is not None:
        try:
            keep_ladder(study, told, content_hash=content_hash)
        except (SearchError, OSError) as err:
            return (*notes, f"The ladder was not kept: {err}")
    return notes


def fit_or_say(
    fit: Callable[[], Mapping[str, Any]],
) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """Return the JSON of a ladder, or None where none could be fitted, and what is missing of it.

    Parameters
    ----------
    fit : returns the JSON of a ladder; a failure of it is a sentence and ends nothing

    Raises
    ------
    LeakageError
        A group stands on two sides of a fold, or a sealed person among the runs.
    """
    try:
        told = fit()
    except LeakageError:
        raise
    except Exception as err:
        return None, (
            f"No ladder of simpler models was fitted ({type(err).__name__}: {err}). Fit it with "
            "spectrum baselines SHARDS.",
        )
    missing = told["skipped"].items()
    return told, tuple(f"The rung {name} is missing: {why}" for name, why in missing)


def told_rungs(ladder: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return score, interval and meaning of the rungs above the floor, by name."""
    if ladder is None:
        return None
    return {
        rung["name"]: {name: rung[name] for name in ("score", "ci95", "about")}
        for rung in rungs_above_floor(ladder)
    }


def fit_linear(
    shards: ShardSet,
    target: Target,
    config: TrialConfig,
    folds: Sequence[Fold],
    on_fold_done: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Return the JSON of the rungs without a network.

    Parameters
    ----------
    shards : of the configuration's recipe
    target : its classes
    config : whose scheme and sequences
    folds : those that the networks get
    on_fold_done : told fits done and fits in all

    Raises
    ------
    LeakageError
        A group stands on two sides of a fold.
    SearchError
        No rung could be fitted.
    """
    from spectrum.evaluation.ladder import LINEAR, run_ladder

    ladder = run_ladder(
        shards,
        target,
        config.folds,
        config.sequences,
        names=LINEAR,
        folds=folds,
        keep_going=True,
        on_fold_done=on_fold_done,
    )
    if not ladder.rungs:
        causes = "; ".join(f"{name}: {why}" for name, why in ladder.skipped.items())
        raise SearchError(f"No rung could be fitted. {causes}")
    return ladder.to_json()


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


def rungs_above_floor(told: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    """Return the rungs of a ladder that are no reference of the floor's file, easiest first.

    Those are the models; ``dummy`` and ``floor`` are the majority and the floor of every study.
    """
    rungs = () if told is None else told["rungs"]
    return tuple(rung for rung in rungs if rung["name"] not in ("dummy", "floor"))
