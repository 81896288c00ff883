"""A search space: a base configuration, the config paths that are searched, and how.

A point is the value of each active parameter by config path; with the base it makes a TrialConfig.
Not here: who proposes points (``optuna_study``); samplers are known as a protocol only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from spectrum.config import (
    TrialConfig,
    config_from_mapping,
    config_paths,
    get_path,
    nearest,
    parse_settings,
    read_yaml,
    set_paths,
)
from spectrum.config.frozen import FrozenConfig
from spectrum.errors import ConfigError
from spectrum.search.parameters import Parameter, TrialLike
from spectrum.search.settings import StudySettings

__all__ = ["SearchSpace", "TrialLike", "read_space", "space_from_mapping"]

PATHS: Final = config_paths(TrialConfig)

REASON_OF_FIXED: Final = {
    "data": "runs that two trials read differently cannot be compared",
    "target": "scores of two targets cannot be compared",
    "folds": "scores over two sets of folds cannot be compared",
    "seed": "the best of several seeds is luck, not a choice",
    "training.monitor_fraction": "folds are drawn once, with their monitor groups",
    "training.workers": "trials of one study share their resources evenly",
    "training.feeding": "it changes no number",
    "training.stream_gib": "it changes no number",
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

    @property
    def default_config(self) -> TrialConfig:
        """The configuration that the search must beat."""
        return config_from_mapping(TrialConfig, self.base)

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
        return config_from_mapping(TrialConfig, set_paths(self.base, point))

    def check(self) -> None:
        """Raise ConfigError where a point would be no configuration, or cannot be searched."""
        from spectrum.search.validity import check_space

        check_space(self)

    def describe(self) -> str:
        """Write the space for people, one parameter a line."""
        default = self.default_config
        width = max((len(path) for path in self.parameters), default=0)
        lines = [f"{self.name}: {self.description}".rstrip(": ")]
        lines += [f"  {path:{width}}  {p}{_conditions(p)}" for path, p in self.parameters.items()]
        values = (f"{path}={get_path(default, path)}" for path in self.parameters)
        return "\n".join([*lines, f"default: {', '.join(values)}"])

    def _resolve(self, pick: Callable[[str, Parameter], Any]) -> dict[str, Any]:
        default = self.default_config
        point: dict[str, Any] = {}
        for path, parameter in self.parameters.items():
            if all(
                _is_met(point[other] if other in point else get_path(default, other), wanted)
                for other, wanted in parameter.when.items()
            ):
                point[path] = pick(path, parameter)
        return point


def read_space(path: Path | str, settings: Sequence[str] = ()) -> SearchSpace:
    """Read a search-space file and apply ``key=value`` settings.

    A setting of a config path changes the base and takes the path out of the search; one of
    ``study.<name>`` changes the study.

    Raises
    ------
    ConfigError
        Where the file, a name or a value is wrong; an unknown name comes with the nearest known.
    """
    return space_from_mapping(read_yaml(Path(path)), parse_settings(settings))


def space_from_mapping(
    mapping: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> SearchSpace:
    """Build a search space from the mapping that a file holds."""
    space = config_from_mapping(SearchSpace, mapping)
    for path, parameter in space.parameters.items():
        for name in (path, *parameter.when):
            _check_path(name, PATHS)
    mapping = space.model_dump(mode="python")
    parameters = {
        path: _typed(path, parameter).model_dump(mode="python")
        for path, parameter in space.parameters.items()
    }
    return _with_settings({**mapping, "parameters": parameters}, settings or {})


def _with_settings(mapping: dict[str, Any], settings: Mapping[str, Any]) -> SearchSpace:
    known = (*PATHS, *(f"study.{path}" for path in config_paths(StudySettings)))
    for path in settings:
        _check_path(path, known)
    of_study = {path: v for path, v in settings.items() if path.startswith("study.")}
    of_base = {path: v for path, v in settings.items() if path not in of_study}
    mapping = set_paths(mapping, of_study)
    mapping["base"] = set_paths(mapping["base"], of_base)
    mapping["parameters"] = {
        path: parameter for path, parameter in mapping["parameters"].items() if path not in of_base
    }
    return config_from_mapping(SearchSpace, mapping)


def _check_path(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ConfigError(
            f"{name} is no config path. The nearest known one is {nearest(name, known)}."
        )


def _typed(path: str, parameter: Parameter) -> Parameter:
    adapter = _adapter_of(path)
    try:
        if parameter.choice is None:
            for end in parameter.ends:
                adapter.validate_python(end)
            return parameter
        choice = tuple(adapter.validate_python(value) for value in parameter.choice)
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        raise ConfigError(
            f"{path} cannot be {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}."
        ) from None
    return config_from_mapping(Parameter, {**parameter.model_dump(), "choice": choice})


def _adapter_of(path: str) -> TypeAdapter[Any]:
    *sections, name = path.split(".")
    kind: type[BaseModel] = TrialConfig
    for section in sections:
        inner = kind.model_fields[section].annotation
        assert isinstance(inner, type)
        kind = inner
    field = kind.model_fields[name]
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated[(annotation, *field.metadata)]
    return TypeAdapter(annotation)


def _is_met(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list | tuple) else value == wanted


def _conditions(parameter: Parameter) -> str:
    if not parameter.when:
        return ""
    return " when " + " and ".join(f"{path} = {value}" for path, value in parameter.when.items())
