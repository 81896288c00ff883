"""Combinations that a search never runs, kept out by construction.

A combination names values of discrete parameters. When a sampler draws the last of them and the
others already have the values named, the drawn value is replaced by the nearest one that is not
forbidden (``Parameter.nearest``), and the point with that value is what runs and what the study
records. So every proposal is valid, none is thrown away, and no trial fails.

Why a replacement: the distribution that a sampler knows under a name must never change (Optuna
refuses choices that do, and its Gaussian process, quasi-random and multivariate samplers need a
fixed space), so the choices cannot be narrowed; and drawing again would leave proposals in the
journal that never ran, which pollute what a sampler learns. The replacement is a fixed function of
what was drawn, the same after a resume; every allowed point stands for itself, so the best
allowed point is also the best that the sampler can see. The price: a value beside a forbidden one
is drawn more often, which ``moved_share`` measures. Not here: whether a space's combinations make
sense (``validity``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spectrum.errors import ConfigError
from spectrum.search.parameters import Parameter

__all__ = ["Forbidden", "allowed_value", "is_met", "last_of", "matches"]

Forbidden = Mapping[str, Any]
"""Config paths, each with the value, or the list of values, that make the combination."""


def is_met(value: Any, wanted: Any) -> bool:
    """Return whether a value is the one wanted, or one of several."""
    return value in wanted if isinstance(wanted, list | tuple) else value == wanted


def last_of(forbidden: Forbidden, parameters: Mapping[str, Parameter]) -> str | None:
    """Return the path of a combination that is drawn last; None where none is searched."""
    return next((path for path in reversed(list(parameters)) if path in forbidden), None)


def matches(forbidden: Forbidden, value_of: Callable[[str], Any]) -> bool:
    """Return whether a configuration has a combination."""
    return all(is_met(value_of(path), wanted) for path, wanted in forbidden.items())


def allowed_value(
    path: str,
    parameter: Parameter,
    drawn: Any,
    closing: Sequence[Forbidden],
    value_of: Callable[[str], Any],
) -> Any:
    """Return a drawn value, or the nearest one that completes no forbidden combination.

    Parameters
    ----------
    path, parameter : what was drawn
    drawn : its value
    closing : the combinations of which ``path`` is drawn last
    value_of : value of each path that was drawn before, or of the base

    Raises
    ------
    ConfigError
        No value is left.
    """
    barring = [
        forbidden[path]
        for forbidden in closing
        if all(is_met(value_of(name), w) for name, w in forbidden.items() if name != path)
    ]
    if not any(is_met(drawn, wanted) for wanted in barring):
        return drawn
    allowed = [
        value
        for value in parameter.values or ()
        if not any(is_met(value, wanted) for wanted in barring)
    ]
    if not allowed:
        raise ConfigError(f"every value of {path} is forbidden", at=("parameters", path))
    return parameter.nearest(drawn, allowed)
