"""A search space: a base configuration, the config paths that are searched, and how.

A point is the value of each active parameter by config path; with the base, and what is derived
from both, it makes a TrialConfig. Not here: who proposes points (``optuna_study``); samplers are
known as a protocol only. Nor how files include each other (``space_source``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from spectrum.config import (
    TrialConfig,
    config_from_mapping,
    config_paths,
    get_path,
    parse_settings,
    set_paths,
)
from spectrum.config.frozen import FrozenConfig
from spectrum.errors import ConfigError
from spectrum.search.derived import DerivedValue
from spectrum.search.field_types import (
    PATHS,
    adapter_of,
    check_path,
    is_whole,
    typed_derived,
    typed_parameter,
    typed_value,
    typed_wanted,
)
from spectrum.search.forbidden import allowed_value, is_met, last_of
from spectrum.search.parameters import Parameter, TrialLike
from spectrum.search.settings import StudySettings
from spectrum.search.space_source import SpaceSource, read_source

__all__ = [
    "SearchSpace",
    "SpaceReading",
    "TrialLike",
    "read_space",
    "read_space_file",
    "space_from_mapping",
]

REASON_OF_FIXED: Final = {
    "data": "runs that two trials read differently cannot be compared",
    "target": "scores of two targets cannot be compared",
    "folds": "scores over two sets of folds cannot be compared",
    "seed": "the best of several seeds is luck, not a choice",
    "training.monitor_fraction": "folds are drawn once, with their monitor groups",
    "training.feeding": "it changes no number",
    "training.stream_gib": "it changes no number",
    "training.idle_folds": "it changes no number",
    "training.fold_order": "it changes no number, and epochs of two orders cannot be compared",
}
"""Config paths, or sections, that are never searched, and why."""


class SearchSpace(FrozenConfig):
    """What is searched, around which default, and how.

    Build it with ``read_space`` or ``space_from_mapping``, which bring every choice to the type of
    its field; ``check`` tells whether each point is a valid configuration.
    """

    name: str
    """Name of the study, where no other is given."""

    description: str = ""
    """What the search is for."""

    base: dict[str, Any] = Field(default_factory=dict)
    """Nested values that differ from the defaults; with the defaults they are the configuration
    that runs first, as trial 0."""

    study: StudySettings = StudySettings()

    parameters: dict[str, Parameter] = Field(default_factory=dict)
    """Searched values by config path; a parameter's ``when`` names paths above it."""

    derive: dict[str, DerivedValue] = Field(default_factory=dict)
    """Values that follow from others, by config path; they may follow from one derived above."""

    forbid: tuple[dict[str, Any], ...] = ()
    """Combinations that no trial has: config paths, each with a value or a list of values. The
    searched ones have discrete values. See ``forbidden`` for what is proposed instead."""

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {k: v for k, v in written.items() if v or k not in ("derive", "forbid")}

    @property
    def default_config(self) -> TrialConfig:
        """The configuration that the search must beat."""
        try:
            return config_from_mapping(
                TrialConfig, set_paths(self.base, self._derived(self._base_value))
            )
        except ConfigError as err:
            at = err.at if err.at[:1] == ("derive",) else ("base", *err.at)
            raise ConfigError(str(err), at=at) from None

    @property
    def default_point(self) -> dict[str, Any]:
        """The default configuration as a point: the base value of each active parameter."""
        return self.point_from({})

    def point(self, trial: TrialLike) -> dict[str, Any]:
        """Ask a sampler for the active parameters, in the order of the file."""
        return self._resolve(lambda path, parameter: parameter.suggest(path, trial))

    def point_from(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the point that some values make; absent ones are those of the base."""
        default = self.default_config
        return self._resolve(
            lambda path, _: values[path] if path in values else get_path(default, path)
        )

    def config(self, point: Mapping[str, Any]) -> TrialConfig:
        """Return the configuration of a point."""
        derived = self._derived(
            lambda path: point[path] if path in point else self._base_value(path)
        )
        return config_from_mapping(TrialConfig, set_paths(self.base, {**point, **derived}))

    def check(self) -> None:
        """Raise ConfigError where a point would be no configuration, or cannot be searched."""
        from spectrum.search.validity import check_space

        check_space(self)

    def describe(self) -> str:
        """Write the space for people, one parameter a line."""
        default = self.default_config
        width = max((len(path) for path in (*self.parameters, *self.derive)), default=0)
        lines = [f"{self.name}: {self.description}".rstrip(": ")]
        lines += [f"  {path:{width}}  {p}{_conditions(p)}" for path, p in self.parameters.items()]
        lines += [f"  {path:{width}}  = {derived}" for path, derived in self.derive.items()]
        lines += [f"  never  {_together(forbidden)}" for forbidden in self.forbid]
        paths = (*self.parameters, *self.derive)
        values = (f"{path}={get_path(default, path)}" for path in paths)
        return "\n".join([*lines, f"default: {', '.join(values)}"])

    def _resolve(self, pick: Callable[[str, Parameter], Any]) -> dict[str, Any]:
        default = self.default_config
        point: dict[str, Any] = {}

        def value_of(path: str) -> Any:
            return point[path] if path in point else get_path(default, path)

        last = [(last_of(forbidden, self.parameters), forbidden) for forbidden in self.forbid]
        for path, parameter in self.parameters.items():
            if all(is_met(value_of(other), wanted) for other, wanted in parameter.when.items()):
                closing = [forbidden for name, forbidden in last if name == path]
                drawn = pick(path, parameter)
                point[path] = allowed_value(path, parameter, drawn, closing, value_of)
        return point

    def _derived(self, value_of: Callable[[str], Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, derived in self.derive.items():
            source = derived.source
            value = found[source] if source in found else value_of(source)
            try:
                found[path] = derived.value_for(value, is_whole=is_whole(path))
            except ConfigError as err:
                raise ConfigError(f"{path}: {err}", at=("derive", path)) from None
        return found

    def _base_value(self, path: str) -> Any:
        value: Any = self.base
        for name in path.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return get_path(DEFAULT, path)
            value = value[name]
        try:
            return adapter_of(path).validate_python(value)
        except ValueError:
            # The configuration as a whole is refused in better words.
            return value


DEFAULT: Final = TrialConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceReading:
    """A space as read from files, which knows where in them each of its parts stands."""

    space: SearchSpace
    source: SpaceSource

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each value that two included files give differently."""
        return self.source.notes

    def check(self) -> None:
        """Check the space; an error begins with file and line."""
        with self.source.located():
            self.space.check()


def read_space(path: Path | str, settings: Sequence[str] = ()) -> SearchSpace:
    """Read a search-space file and apply ``key=value`` settings; see ``read_space_file``."""
    return read_space_file(path, settings).space


def read_space_file(
    path: Path | str, settings: Sequence[str] = (), frozen: Sequence[str] = ()
) -> SpaceReading:
    """Read a search-space file, with all that it includes.

    Parameters
    ----------
    path : of the file
    settings : ``key=value``
        Of a config path: changes the base and takes the path out of the search, or out of what is
        derived. Of ``study.<name>``: changes the study.
    frozen : ``key=value``
        Fixes a searched path to one of its values.

    Raises
    ------
    ConfigError
        Where a file, a name or a value is wrong, with file and line; an unknown name comes with
        the nearest known.
    """
    source = read_source(Path(path))
    with source.located():
        space = space_from_mapping(source.mapping)
    set_ = parse_settings(settings)
    if set_:
        space = _with_settings(space, set_)
        _ = space.default_config
    for key, value in parse_settings(frozen, "--freeze").items():
        space = _with_frozen(space, key, value)
    return SpaceReading(space=space, source=source)


def space_from_mapping(
    mapping: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> SearchSpace:
    """Build a search space from the mapping that a file holds, without its inclusions."""
    space = config_from_mapping(SearchSpace, _without_fixed(mapping))
    for path, parameter in space.parameters.items():
        check_path(path, at=("parameters", path))
        for name in parameter.when:
            check_path(name, at=("parameters", path, "when", name))
    for path, derived in space.derive.items():
        check_path(path, at=("derive", path))
        check_path(derived.source, at=("derive", path))
    for index, forbidden in enumerate(space.forbid):
        for path in forbidden:
            check_path(path, at=("forbid", index, path))
    space = _rebuilt(
        space,
        parameters={p: typed_parameter(p, parameter) for p, parameter in space.parameters.items()},
        derive={p: typed_derived(p, derived) for p, derived in space.derive.items()},
        forbid=[
            {p: typed_wanted(p, wanted, ("forbid", index, p)) for p, wanted in forbidden.items()}
            for index, forbidden in enumerate(space.forbid)
        ],
    )
    return _with_settings(space, settings) if settings else space


def _rebuilt(space: SearchSpace, **changes: Any) -> SearchSpace:
    """Return a space with other parts, all of them checked again."""
    parts = {name: getattr(space, name) for name in SearchSpace.model_fields}
    return config_from_mapping(SearchSpace, {**parts, **changes})


def _without_fixed(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Put parameters that are fixed where they belong, into the base."""
    parameters = mapping.get("parameters")
    if not isinstance(parameters, Mapping):
        return dict(mapping)
    fixed = {p: v for p, v in parameters.items() if isinstance(v, Mapping) and "fixed" in v}
    values = {}
    for path, parameter in fixed.items():
        at = ("parameters", str(path))
        check_path(str(path), at=at)
        if len(parameter) > 1:
            others = ", ".join(str(name) for name in parameter if name != "fixed")
            raise ConfigError(
                f"{path} has fixed and {others}. A fixed value is not searched; give one of them.",
                at=at,
            )
        values[path] = typed_value(path, parameter["fixed"], at)
    base = mapping.get("base") or {}
    return {
        **mapping,
        "base": set_paths(base, values) if values else base,
        "parameters": {path: v for path, v in parameters.items() if path not in fixed},
    }


def _with_settings(space: SearchSpace, settings: Mapping[str, Any]) -> SearchSpace:
    known = (*PATHS, *(f"study.{path}" for path in config_paths(StudySettings)))
    for path in settings:
        check_path(path, known)
    of_study = {p.removeprefix("study."): v for p, v in settings.items() if p[:6] == "study."}
    of_base = {path: value for path, value in settings.items() if path in PATHS}
    return _rebuilt(
        space,
        study=set_paths(space.study.model_dump(), of_study),
        base=set_paths(space.base, of_base),
        parameters={p: v for p, v in space.parameters.items() if p not in of_base},
        derive={p: v for p, v in space.derive.items() if p not in of_base},
    )


def _with_frozen(space: SearchSpace, path: str, value: Any) -> SearchSpace:
    if path not in space.parameters:
        searched = ", ".join(space.parameters) or "nothing"
        raise ConfigError(
            f"--freeze {path}: {space.name} does not search it; it searches {searched}. "
            f"Use --set {path}={value} for anything else."
        )
    typed = typed_value(path, value)
    if not space.parameters[path].contains(typed):
        raise ConfigError(
            f"--freeze {path}={value}: the value is not among {space.parameters[path]}. "
            "Freeze one of these, or use --set for another one."
        )
    return _with_settings(space, {path: typed})


def _conditions(parameter: Parameter) -> str:
    return f" when {_together(parameter.when)}" if parameter.when else ""


def _together(values: Mapping[str, Any]) -> str:
    told = (
        f"{path} = {' or '.join(map(str, v)) if isinstance(v, list | tuple) else v}"
        for path, v in values.items()
    )
    return " and ".join(told)
