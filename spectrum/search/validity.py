"""Whether every point of a search space is a valid configuration, known before anything starts.

A failed trial costs minutes; trying all combinations of discrete parameters costs milliseconds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from spectrum.errors import ConfigError
from spectrum.search.parameters import Parameter
from spectrum.search.space import REASON_OF_FIXED, SearchSpace

__all__ = ["check_space"]

MAX_COMBINATIONS: Final = 4000
"""Combinations of one section that are all tried; beyond, all pairs and as many samples."""


def check_space(space: SearchSpace) -> None:
    """Raise ConfigError for the first thing that would make a trial fail or a study senseless."""
    default = space.default_config
    if default.training.workers > 1:
        raise ConfigError(
            f"training.workers is {default.training.workers}. A trial of a search has one worker; "
            "use `spectrum train --workers` for one configuration on several."
        )
    for path, parameter in space.parameters.items():
        _check_is_searchable(path)
        _check_is_shareable(path, parameter)
        _check_order_of_conditions(space, path)
    for path, value in space.default_point.items():
        _check_default(path, value, space.parameters[path])
    _check_combinations(space)


def _check_is_searchable(path: str) -> None:
    for fixed, reason in REASON_OF_FIXED.items():
        if path == fixed or path.startswith(f"{fixed}."):
            raise ConfigError(f"{path} cannot be searched: {reason}. Set it under `base`.")


def _check_is_shareable(path: str, parameter: Parameter) -> None:
    if path.startswith("preprocessing.") and parameter.values is None:
        raise ConfigError(
            f"{path} is continuous, so that no two trials could share their shards. "
            "Give `choice`, or `uniform` with a `step`."
        )


def _check_order_of_conditions(space: SearchSpace, path: str) -> None:
    order = list(space.parameters)
    for other in space.parameters[path].when:
        if other in order and order.index(other) >= order.index(path):
            raise ConfigError(
                f"{path} depends on {other}, which stands below it. Move {other} above {path}."
            )


def _check_default(path: str, value: Any, parameter: Parameter) -> None:
    if not parameter.contains(value):
        raise ConfigError(
            f"{path} is {value} in the default configuration and searched over {parameter}. "
            "The default runs as trial 0: set it under `base` to a value of the range, "
            "or widen the range."
        )


def _check_combinations(space: SearchSpace) -> None:
    for path, parameter in space.parameters.items():
        if parameter.choice is None:
            for end in parameter.ends:
                _check_values(space, {path: int(end) if parameter.int_ else end})
    sections = sorted({path.split(".", 1)[0] for path in space.parameters})
    for section in sections:
        for values in _iter_combinations(space, section):
            _check_values(space, values)


def _iter_combinations(space: SearchSpace, section: str) -> Iterator[dict[str, Any]]:
    values_of = _related_values(space, section)
    if math.prod(len(values) for values in values_of.values()) <= MAX_COMBINATIONS:
        yield from _products(values_of)
        return
    for pair in itertools.combinations(values_of, 2):
        yield from _products({path: values_of[path] for path in pair})
    rng = np.random.default_rng(0)
    for _ in range(MAX_COMBINATIONS):
        yield {path: values[rng.integers(len(values))] for path, values in values_of.items()}


def _related_values(space: SearchSpace, section: str) -> dict[str, tuple[Any, ...]]:
    """Return the discrete parameters of a section, and those that their conditions name."""
    inside = [path for path in space.parameters if path.split(".", 1)[0] == section]
    named = {other for path in inside for other in space.parameters[path].when}
    return {
        path: values
        for path, parameter in space.parameters.items()
        if (path in inside or path in named) and (values := parameter.values) is not None
    }


def _products(values_of: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
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
    told = " with ".join(f"{path} = {point.get(path, value)}" for path, value in culprits.items())
    raise ConfigError(
        f"{space.name} would propose {told or 'its default'}, which is no configuration: "
        f"{cause.rstrip('.')}. Change the choices, or part them with `when`."
    )


def _cause_of(space: SearchSpace, values: Mapping[str, Any]) -> str | None:
    try:
        space.config(space.point_from(values))
    except ConfigError as err:
        return str(err)
    return None
