"""What a study knows before its first proposal: points to run first, and trials told from others.

Not here: how they come into the journal (``optuna_study``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spectrum.data.recipe import STEP_VERSIONS
from spectrum.errors import ConfigError, SearchError
from spectrum.search.selection import ranked
from spectrum.search.settings import ObjectiveName
from spectrum.search.space import SearchSpace
from spectrum.search.view import StudyView, view_study

__all__ = ["FirstTrials", "ToldTrial", "enqueued_points", "first_trials"]

NUM_BEST: Final = 5
"""Trials of a study on other data that are run again first: their points are known to be good,
their scores cannot be compared."""

COMPARABLE: Final = ("runs", "target", "folds")
"""Fingerprints of the data that must be equal for two scores to be comparable, as must be the
versions of the steps of a recipe."""

MAX_NAMED: Final = 5
"""Reasons that a note names."""


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
    sources = [*space.study.warm_start, *([str(parent)] if parent else [])]
    for source in dict.fromkeys(sources):
        study = view_study(Path(source))
        valid, left_out = _valid_points(space, study)
        if data is None or _is_comparable(study, data):
            told += _told(source, valid, space.study.objectives)
            notes.append(_told_note(source, len(valid), left_out))
        else:
            points += [line["params"] for line in valid[:NUM_BEST]]
            notes.append(_other_data_note(source, len(valid[:NUM_BEST]), left_out))
    return FirstTrials(points=_each_once(space, points), told=tuple(told), notes=tuple(notes))


def enqueued_points(space: SearchSpace) -> tuple[Mapping[str, Any], ...]:
    """Return the points of ``study.enqueue``, complete.

    Raises
    ------
    ConfigError
        Where one names a path that is not searched, or has a value that is none of its.
    """
    points = []
    for place, values in enumerate(space.study.enqueue, start=1):
        problem = _problem(space, values)
        if problem:
            raise ConfigError(f"Point {place} of study.enqueue cannot be run: {problem}.")
        points.append(space.point_from(values))
    return tuple(points)


def _problem(space: SearchSpace, values: Mapping[str, Any]) -> str | None:
    """Return why values are no point of a space; None where they are."""
    for path, value in values.items():
        if path not in space.parameters:
            return f"{path} is not searched"
        if not space.parameters[path].contains(value):
            return f"{path} cannot be {value}, it is one of {space.parameters[path]}"
    idle = [path for path in values if path not in space.point_from(values)]
    return f"{idle[0]} does not count, its condition is not met" if idle else None


def _valid_points(
    space: SearchSpace, study: StudyView
) -> tuple[list[Mapping[str, Any]], dict[str, int]]:
    """Return the complete lines whose params are a point of the space, and why others are not."""
    valid: list[Mapping[str, Any]] = []
    left_out: dict[str, int] = {}
    for line in ranked({line["number"]: line for line in study.lines}):
        problem = _problem(space, line["params"])
        if problem is None:
            valid.append({**line, "params": space.point_from(line["params"])})
        else:
            left_out[problem] = left_out.get(problem, 0) + 1
    return valid, left_out


def _is_comparable(study: StudyView, data: Mapping[str, Any]) -> bool:
    theirs = study.manifest.get("data") or {}
    steps = (study.manifest.get("versions") or {}).get("steps")
    same_data = all(theirs.get(name) == data.get(name) for name in COMPARABLE)
    return same_data and steps == dict(STEP_VERSIONS)


def _told(
    source: str, lines: Sequence[Mapping[str, Any]], objectives: Sequence[ObjectiveName]
) -> list[ToldTrial]:
    told = []
    for line in lines:
        values = {"score": line["value"], **(line.get("objectives") or {})}
        lacking = [name for name in objectives if name not in values]
        if lacking:
            raise SearchError(
                f"{source} did not measure {lacking[0]}, which is one of this study's objectives. "
                "Leave it out of study.warm_start."
            )
        told.append(
            ToldTrial(
                source=f"{source}/{line['number']}",
                point=line["params"],
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


def _other_data_note(source: str, num_points: int, left_out: Mapping[str, int]) -> str:
    return (
        f"{source} was searched on other data, folds or target, so that its scores do not count "
        f"here; its best {num_points} points are run first{_reasons(left_out)}."
    )


def _reasons(left_out: Mapping[str, int]) -> str:
    if not left_out:
        return ""
    named = [f"{num} because {why}" for why, num in list(left_out.items())[:MAX_NAMED]]
    more = f" and {len(left_out) - MAX_NAMED} more reasons" if len(left_out) > MAX_NAMED else ""
    return f"; left out: {'; '.join(named)}{more}"
