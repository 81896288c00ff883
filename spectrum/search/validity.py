"""Whether every point of a search space is a valid configuration, known before anything starts.

A failed trial costs minutes; trying all combinations of discrete parameters costs milliseconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np

from spectrum.config import get_path
from spectrum.errors import ConfigError
from spectrum.search.forbidden import last_of, matches
from spectrum.search.parameters import Parameter
from spectrum.search.space import REASON_OF_FIXED, SearchSpace

__all__ = ["check_space", "moved_share", "related_values"]

MAX_COMBINATIONS: Final = 4000
"""Combinations of one section that are all tried; beyond, all pairs and as many samples."""

NUM_DRAWS: Final = 2000
"""Random draws that ``moved_share`` counts in."""

Values = Mapping[str, tuple[Any, ...]]


def check_space(space: SearchSpace) -> None:
    """Raise ConfigError for the first thing that would make a trial fail or a study senseless."""
    for path in space.derive:
        _check_derived(space, path)
    for path, parameter in space.parameters.items():
        _check_is_searchable(path, ("parameters", path))
        _check_is_shareable(path, parameter)
        _check_order_of_conditions(space, path)
        _check_wanted(space, parameter.when, ("parameters", path, "when"))
    for index in range(len(space.forbid)):
        _check_forbidden(space, index)
    _check_fold_race(space)
    for path, value in space.default_point.items():
        _check_default(path, value, space.parameters[path])
    _check_reach(space)
    _check_combinations(space)


def moved_share(space: SearchSpace) -> float:
    """Return the share of random draws that ``forbid`` puts elsewhere, 0 to 1."""
    if not space.forbid:
        return 0.0
    values_of = {p: v for p, q in space.parameters.items() if (v := q.values) is not None}
    draws = list(_samples(values_of, NUM_DRAWS))
    points = [space.point_from(draw) for draw in draws]
    moved = [
        any(point[path] != draw[path] for path in point if path in draw)
        for point, draw in zip(points, draws, strict=True)
    ]
    return float(np.mean(moved))


def _check_fold_race(space: SearchSpace) -> None:
    """Refuse to race folds that part a subject: its mean over a few of its runs has no pair."""
    default = space.default_config
    is_by_fold = default.training.fold_order == "fold"
    parts_subjects = default.folds.scheme == "leave-one-run-out"
    if is_by_fold and parts_subjects and space.study.pruner.folds.alpha > 0.0:
        raise ConfigError(
            "The folds of leave-one-run-out part each subject by runs, so that a trial stopped "
            "between two folds has other runs of a subject than the best trial it is compared "
            "with. Set study.pruner.folds.alpha to 0, training.fold_order to epoch, or take "
            "another folds.scheme.",
            at=("study", "pruner"),
        )


def _check_is_searchable(path: str, at: tuple[str | int, ...]) -> None:
    for fixed, reason in REASON_OF_FIXED.items():
        if path == fixed or path.startswith(f"{fixed}."):
            raise ConfigError(f"{path} cannot be searched: {reason}. Set it under `base`.", at=at)


def _check_is_shareable(path: str, parameter: Parameter) -> None:
    if path.startswith("preprocessing.") and parameter.values is None:
        raise ConfigError(
            f"{path} is continuous, so that no two trials could share their shards. "
            "Give `choice`, or `uniform` with a `step`.",
            at=("parameters", path),
        )


def _check_order_of_conditions(space: SearchSpace, path: str) -> None:
    order = list(space.parameters)
    for other in space.parameters[path].when:
        if other in order and order.index(other) >= order.index(path):
            raise ConfigError(
                f"{path} depends on {other}, which stands below it. Move {other} above {path}.",
                at=("parameters", path, "when", other),
            )


def _check_default(path: str, value: Any, parameter: Parameter) -> None:
    if not parameter.contains(value):
        raise ConfigError(
            f"{path} is {value} in the default configuration and searched over {parameter}. "
            "The default runs as trial 0: set it under `base` to a value of the range, "
            "or widen the range.",
            at=("parameters", path),
        )


def _check_wanted(
    space: SearchSpace, wanted_of: Mapping[str, Any], at: tuple[str | int, ...]
) -> None:
    """Refuse a value that its parameter never has: what waits for it waits in vain."""
    for path, wanted in wanted_of.items():
        parameter = space.parameters.get(path)
        for value in wanted if isinstance(wanted, list | tuple) else (wanted,):
            if parameter is not None and not parameter.contains(value):
                base = get_path(space.default_config, path)
                if value != base:
                    raise ConfigError(
                        f"{path} = {value} never occurs: it is searched over {parameter}. "
                        "Name one of these values.",
                        at=(*at, path),
                    )


def _check_derived(space: SearchSpace, path: str) -> None:
    at, source = ("derive", path), space.derive[path].source
    order = list(space.derive)
    _check_is_searchable(path, at)
    parameter = space.parameters.get(source)
    is_continuous = parameter is not None and parameter.values is None
    if path in space.parameters:
        raise ConfigError(f"{path} is both searched and derived. Take one of them away.", at=at)
    if source in order and order.index(source) >= order.index(path):
        raise ConfigError(
            f"{path} is derived from {source}, which stands below it. Move {source} above {path}.",
            at=at,
        )
    if is_continuous and (path.startswith("preprocessing.") or space.derive[path].values):
        raise ConfigError(
            f"{path} is derived from {source}, which is continuous. "
            "Give that `choice`, `ordered`, or `uniform` with a `step`.",
            at=at,
        )


def _check_forbidden(space: SearchSpace, index: int) -> None:
    forbidden, at = space.forbid[index], ("forbid", index)
    for path in forbidden:
        if path in space.derive:
            raise ConfigError(
                f"forbid names {path}, which is derived. Name {space.derive[path].source}.", at=at
            )
        if path in space.parameters and space.parameters[path].values is None:
            raise ConfigError(
                f"forbid names {path}, which is continuous, so that no draw ever has the value. "
                "Give it a `step`, or narrow its range.",
                at=at,
            )
    _check_wanted(space, forbidden, at)
    default = space.default_config
    if matches(forbidden, lambda path: get_path(default, path)):
        raise ConfigError(
            f"The default configuration has a forbidden combination, {_told(forbidden)}. "
            "It runs as trial 0: change the base, or the combination.",
            at=at,
        )


def _check_reach(space: SearchSpace) -> None:
    """See that no draw ends where every value is forbidden, or keeps a forbidden combination."""
    default = space.default_config
    for index, forbidden in enumerate(space.forbid):
        at = ("forbid", index)
        base = {path: get_path(default, path) for path in forbidden}
        named = {path for path in forbidden if path in space.parameters}
        for values in _all_or_samples(_discrete(space, named)):
            try:
                point = space.point_from(values)
            except ConfigError as err:
                raise ConfigError(
                    f"With {_told(values)}, {err}. Forbid less, or part the values with `when`.",
                    at=at,
                ) from None
            at_point = {path: point.get(path, base[path]) for path in forbidden}
            if matches(forbidden, at_point.__getitem__):
                last = last_of(forbidden, space.parameters)
                raise ConfigError(
                    f"The combination {_told(forbidden)} is reached where {last} is not searched "
                    "and has its base value. Move the parameter that should give way below it.",
                    at=at,
                )


def _discrete(space: SearchSpace, paths: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Return the values of discrete searched paths, and of all that decide about these."""
    found, todo = set(paths), list(paths)
    while todo:
        for other in _deciding(space, todo.pop()):
            if other in space.parameters and other not in found:
                found.add(other)
                todo.append(other)
    return {
        path: values
        for path, parameter in space.parameters.items()
        if path in found and (values := parameter.values) is not None
    }


def _deciding(space: SearchSpace, path: str) -> set[str]:
    """Return what a path's conditions name, and the combinations that it is the last of."""
    closed = (f for f in space.forbid if last_of(f, space.parameters) == path)
    return {*space.parameters[path].when, *(name for forbidden in closed for name in forbidden)}


def _told(values: Mapping[str, Any]) -> str:
    return " with ".join(f"{path} = {value}" for path, value in values.items())


def _check_combinations(space: SearchSpace) -> None:
    for path, parameter in space.parameters.items():
        if parameter.values is None:
            for end in parameter.ends:
                _check_values(space, {path: end})
    sections = sorted({path.split(".", 1)[0] for path in (*space.parameters, *space.derive)})
    within = (_all_or_samples(related_values(space, (f"{name}.",))) for name in sections)
    for values in itertools.chain(*within, _pairs_across_sections(space)):
        _check_values(space, values)


def _pairs_across_sections(space: SearchSpace) -> Iterator[dict[str, Any]]:
    values_of = {p: v for p, q in space.parameters.items() if (v := q.values) is not None}
    for first, second in itertools.combinations(values_of, 2):
        if first.split(".", 1)[0] != second.split(".", 1)[0]:
            yield from _products({path: values_of[path] for path in (first, second)})


def _all_or_samples(values_of: Values) -> Iterator[dict[str, Any]]:
    """Yield every combination; of too many all pairs and a sample."""
    if math.prod(len(values) for values in values_of.values()) <= MAX_COMBINATIONS:
        yield from _products(values_of)
        return
    for pair in itertools.combinations(values_of, 2):
        yield from _products({path: values_of[path] for path in pair})
    yield from _samples(values_of, MAX_COMBINATIONS)


def _samples(values_of: Values, number: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        yield {path: values[rng.integers(len(values))] for path, values in values_of.items()}


def related_values(space: SearchSpace, beginnings: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    """Return the values of the discrete parameters that decide about some config paths.

    Parameters
    ----------
    beginnings : of the paths, such as ``preprocessing.``; parameters that these are derived from,
        that their conditions name or that are forbidden together with them are among the result
    """
    inside = {path for path in space.parameters if path.startswith(beginnings)}
    for path in space.derive:
        if path.startswith(beginnings):
            inside |= _sources(space, path)
    return _discrete(space, inside)


def _sources(space: SearchSpace, path: str) -> set[str]:
    """Return the searched path that a derived one follows from, through others."""
    while path in space.derive:
        path = space.derive[path].source
    return {path} & set(space.parameters)


def _products(values_of: Values) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*values_of.values()):
        yield dict(zip(values_of, values, strict=True))


def _check_values(space: SearchSpace, values: Mapping[str, Any]) -> None:
    cause = _cause_of(space, values)
    if cause is None:
        return
    culprits = dict(values)
    for path in values:
        fewer = {other: value for other, value in culprits.items() if other != path}
        if (narrower := _cause_of(space, fewer)) is not None:
            culprits, cause = fewer, narrower
    point = space.point_from(culprits)
    told = _told({path: point.get(path, value) for path, value in culprits.items()})
    raise ConfigError(
        f"{space.name} would propose {told or 'its default'}, which is no configuration: "
        f"{cause.rstrip('.')}. Change the choices, or part them with `when` or `forbid`.",
        at=("parameters", next(reversed(culprits))) if culprits else ("base",),
    )


def _cause_of(space: SearchSpace, values: Mapping[str, Any]) -> str | None:
    try:
        space.config(space.point_from(values))
    except ConfigError as err:
        return str(err)
    return None
