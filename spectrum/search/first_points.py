"""What a study knows before its first proposal: points to run first, and trials told from others.

Not here: how they come into the journal (``optuna_study``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spectrum.config import MODEL_VERSION, TrialConfig, config_from_mapping, get_path, pin_weights
from spectrum.data.recipe import STEP_VERSIONS
from spectrum.errors import ConfigError, SearchError
from spectrum.search.field_types import typed_value
from spectrum.search.forbidden import matches
from spectrum.search.manifest import FREE_TO_CHANGE, differences
from spectrum.search.selection import ranked
from spectrum.search.settings import ObjectiveName
from spectrum.search.space import SearchSpace
from spectrum.search.view import StudyView, view_study

__all__ = ["FirstTrials", "ToldTrial", "check_sources", "enqueued_points", "first_trials"]

NUM_BEST: Final = 5
"""Trials on other data, or of configurations that this space does not have, that are run again
first: their points are known to be good, their scores cannot be compared."""

COMPARABLE: Final = ("runs", "target", "folds")
"""Fingerprints of the data that must be equal for two scores to be comparable, as must be the
versions of the steps of a recipe and of the model."""

MAX_NAMED: Final = 5
"""Reasons that a note names."""

SAME_BY_NATURE: Final = (
    "seed",
    *(path.removeprefix("base.") for path in FREE_TO_CHANGE if path.startswith("base.")),
)
"""Config paths in which two configurations may differ and still have comparable scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldTrial:
    """A finished trial of another study: where it is from, its point and its objectives."""

    source: str
    point: Mapping[str, Any]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTrials:
    """Points to run after the default configuration, trials told, and sentences about both."""

    points: tuple[Mapping[str, Any], ...] = ()
    told: tuple[ToldTrial, ...] = ()
    notes: tuple[str, ...] = ()


def first_trials(
    space: SearchSpace,
    *,
    data: Mapping[str, Any] | None = None,
    parent: Path | None = None,
) -> FirstTrials:
    """Return what the settings of a study name, and what its parent found.

    Parameters
    ----------
    data : fingerprints of the study's data; None takes every study for one on the same data
    parent : folder of the study that this one is forked from
    """
    points = list(enqueued_points(space))
    told: list[ToldTrial] = []
    notes: list[str] = []
    for source, kind in _sources(space, parent).items():
        study = _view(source, kind)
        valid, left_out = _valid_points(space, study)
        reason = None if data is None else _why_incomparable(study, data)
        if reason is not None:
            points += [found.point for found in valid[:NUM_BEST]]
            notes.append(_incomparable_note(source, reason, len(valid[:NUM_BEST]), left_out))
            continue
        same = [found for found in valid if not found.difference]
        others = [found for found in valid if found.difference][:NUM_BEST]
        told += _told(source, kind, same, space.study.objectives)
        points += [found.point for found in others]
        notes.append(_told_note(source, len(same), left_out))
        if others:
            notes.append(_other_configuration_note(source, len(valid) - len(same), others))
    return FirstTrials(points=_each_once(space, points), told=tuple(told), notes=tuple(notes))


def check_sources(space: SearchSpace, parent: Path | None = None) -> None:
    """Raise SearchError where a study to begin from cannot be read; its kind is named.

    Parameters
    ----------
    parent : folder of the study that is to be forked
    """
    for source, kind in _sources(space, parent).items():
        _view(source, kind)


def _sources(space: SearchSpace, parent: Path | None) -> dict[str, str]:
    """Return the folders of the studies to begin from, each with what names it to a user."""
    kinds = dict.fromkeys(space.study.warm_start, "study.warm_start")
    resolved = {Path(source).resolve() for source in kinds}
    if parent is not None and parent.resolve() not in resolved:
        kinds[str(parent)] = "--fork"
    return kinds


def _view(source: str, kind: str) -> StudyView:
    try:
        return view_study(Path(source))
    except SearchError as err:
        raise SearchError(f"{kind} {source} cannot be begun from: {err}") from err


def enqueued_points(space: SearchSpace) -> tuple[Mapping[str, Any], ...]:
    """Return the points of ``study.enqueue``, complete.

    Raises
    ------
    ConfigError
        Where one names a path that is not searched, or has a value that is none of its.
    """
    points = []
    for place, written in enumerate(space.study.enqueue, start=1):
        values, problem = _typed(space, written)
        problem = problem or _problem(space, values)
        if problem:
            raise ConfigError(f"Point {place} of study.enqueue cannot be run: {problem}.")
        points.append(space.point_from(values))
    return tuple(points)


def _typed(space: SearchSpace, values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return values in the types of their fields, and why one has none."""
    try:
        typed = {p: typed_value(p, v) if p in space.parameters else v for p, v in values.items()}
    except ConfigError as err:
        return dict(values), str(err).rstrip(".")
    return typed, None


def _problem(space: SearchSpace, values: Mapping[str, Any]) -> str | None:
    """Return why values are no point of a space, or one that would be moved; None where not."""
    for path, value in values.items():
        if path not in space.parameters:
            return f"{path} is not searched"
        if not space.parameters[path].contains(value):
            return f"{path} cannot be {value}, it is one of {space.parameters[path]}"
    point, default = space.point_from(values), space.default_config
    idle = [path for path in values if path not in point]
    if idle:
        return f"{idle[0]} does not count, its condition is not met"
    meant = {path: values.get(path, get_path(default, path)) for path in point}
    return _forbidden_in(space, meant) if point != meant else None


def _forbidden_in(space: SearchSpace, meant: Mapping[str, Any]) -> str:
    """Return which combination that a space forbids some values have."""
    default = space.default_config
    for forbidden in space.forbid:
        if matches(forbidden, lambda path: meant.get(path, get_path(default, path))):
            told = " with ".join(f"{path} = {value}" for path, value in forbidden.items())
            return f"{told} is forbidden"
    return "it has a forbidden combination"


@dataclass(frozen=True, slots=True)
class _Found:
    """The line of another study's trial as a point, and how its configuration differs from that.

    ``difference`` is "" where this space makes the very configuration that ran there.
    """

    line: Mapping[str, Any]
    point: Mapping[str, Any]
    difference: str


def _valid_points(space: SearchSpace, study: StudyView) -> tuple[list[_Found], dict[str, int]]:
    """Return the complete lines that are points of the space, and why others are not."""
    valid: list[_Found] = []
    left_out: dict[str, int] = {}
    for line in ranked({line["number"]: line for line in study.lines}):
        found = _found(space, line)
        if isinstance(found, _Found):
            valid.append(found)
        else:
            left_out[found] = left_out.get(found, 0) + 1
    return valid, left_out


def _found(space: SearchSpace, line: Mapping[str, Any]) -> _Found | str:
    """Return the point of a line, with what was fixed there and is searched here; or why none."""
    values, problem = _typed(space, line["params"])
    unknown = [path for path in line["params"] if path not in space.parameters]
    if unknown or problem:
        return problem or f"{unknown[0]} is not searched"
    try:
        theirs = config_from_mapping(TrialConfig, line["config"])
    except ConfigError as err:
        return f"its configuration is none of this version: {str(err).rstrip('.')}"
    ran = {path: get_path(theirs, path) for path in space.parameters} | values
    ran = {path: ran[path] for path in space.point_from(ran)}
    problem = _problem(space, ran)
    if problem:
        return problem
    point = space.point_from(ran)
    return _Found(line, point, _difference(pin_weights(space.config(point)), theirs))


def _difference(ours: TrialConfig, theirs: TrialConfig) -> str:
    """Return the first config path in which two configurations differ where it counts, or ""."""
    found = differences(theirs.model_dump(mode="json"), ours.model_dump(mode="json"))
    return next((told for path, told in found if path not in SAME_BY_NATURE), "")


def _why_incomparable(study: StudyView, data: Mapping[str, Any]) -> str | None:
    """Return why no score of a study counts for another one on some data; None where they do."""
    theirs = study.manifest.get("data") or {}
    versions = study.manifest.get("versions") or {}
    if any(theirs.get(name) != data.get(name) for name in COMPARABLE):
        return "on other data, folds or target"
    if versions.get("steps") != dict(STEP_VERSIONS):
        return "with other versions of the steps of a recipe"
    if versions.get("model") != MODEL_VERSION:
        model = versions.get("model") or "unknown"
        return f"with version {model} of the model, which is now {MODEL_VERSION}"
    return None


def _told(
    source: str, kind: str, found: Sequence[_Found], objectives: Sequence[ObjectiveName]
) -> list[ToldTrial]:
    told = []
    for trial in found:
        line = trial.line
        values = {"score": line["value"], **(line.get("objectives") or {})}
        lacking = [name for name in objectives if name not in values]
        if lacking:
            raise SearchError(
                f"{kind} {source} did not measure {lacking[0]}, which is one of this study's "
                f"objectives. Leave {kind} away, or the objective."
            )
        told.append(
            ToldTrial(
                source=f"{source}/{line['number']}",
                point=trial.point,
                values=tuple(float(values[name]) for name in objectives),
            )
        )
    return told


def _each_once(
    space: SearchSpace, points: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    kept: list[Mapping[str, Any]] = []
    for point in points:
        if point not in (space.default_point, *kept):
            kept.append(point)
    return tuple(kept)


def _told_note(source: str, num_told: int, left_out: Mapping[str, int]) -> str:
    return f"{num_told} finished trials of {source} were told to the sampler{_reasons(left_out)}."


def _other_configuration_note(source: str, num: int, best: Sequence[_Found]) -> str:
    return (
        f"{num} finished trials of {source} ran with another configuration than their points have "
        f"here ({best[0].difference}), so that their scores do not count; the best {len(best)} "
        "of these points are run first."
    )


def _incomparable_note(
    source: str, reason: str, num_points: int, left_out: Mapping[str, int]
) -> str:
    return (
        f"{source} was searched {reason}, so that its scores do not count here; its best "
        f"{num_points} points are run first{_reasons(left_out)}."
    )


def _reasons(left_out: Mapping[str, int]) -> str:
    if not left_out:
        return ""
    named = [f"{num} because {why}" for why, num in list(left_out.items())[:MAX_NAMED]]
    more = f" and {len(left_out) - MAX_NAMED} more reasons" if len(left_out) > MAX_NAMED else ""
    return f"; left out: {'; '.join(named)}{more}"
