"""The JSON Schema of search-space files, for editors. Not here: what only reading can check.

A schema sees one value at a time: that conditions name what stands above, that the default lies in
every range and that all combinations are configurations is checked by ``SearchSpace.check``.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import TypeAdapter

from spectrum.config import TrialConfig, get_path
from spectrum.search.derived import DerivedValue
from spectrum.search.field_types import PATHS, adapter_of, description_of
from spectrum.search.settings import StudySettings
from spectrum.search.space import REASON_OF_FIXED, SearchSpace

__all__ = ["space_schema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""The dialect that pydantic writes."""


def space_schema() -> dict[str, Any]:
    """Return the JSON Schema of a search-space file, as plain JSON.

    Examples
    --------
    >>> space_schema()["required"]
    ['name']
    """
    told = {
        name: {"description": " ".join(field.description.split())}
        for name, field in SearchSpace.model_fields.items()
        if field.description
    }
    base, study = TrialConfig.model_json_schema(), StudySettings.model_json_schema()
    searchable = [path for path in PATHS if not _is_fixed(path)]
    values = {path: _value_schema(path) for path in PATHS}
    names = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    sections: dict[str, dict[str, Any]] = {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "include": {"description": "Space files that this one goes over, nearest last.", **names},
        "base": {"$ref": "#/$defs/TrialConfig"},
        "study": {"$ref": "#/$defs/StudySettings"},
        "parameters": _closed({path: _parameter_schema(path) for path in searchable}),
        "derive": _closed({path: {"$ref": "#/$defs/DerivedValue"} for path in searchable}),
        "forbid": {"type": "array", "items": {"$ref": "#/$defs/Conditions"}},
    }
    return {
        "$schema": DIALECT,
        "title": "Search space",
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {name: {**told.get(name, {}), **s} for name, s in sections.items()},
        "$defs": {
            **base.pop("$defs", {}),
            **study.pop("$defs", {}),
            "TrialConfig": base,
            "StudySettings": study,
            "DerivedValue": _derived_schema(),
            "Conditions": _closed(_conditions(values)),
        },
    }


def _is_fixed(path: str) -> bool:
    return any(path == fixed or path.startswith(f"{fixed}.") for fixed in REASON_OF_FIXED)


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value_schema(path: str) -> dict[str, Any]:
    return adapter_of(path).json_schema()


def _conditions(values: dict[str, Any]) -> dict[str, Any]:
    return {
        path: {"anyOf": [value, {"type": "array", "items": value}]}
        for path, value in values.items()
    }


def _parameter_schema(path: str) -> dict[str, Any]:
    value = _value_schema(path)
    several = {"type": "array", "minItems": 1, "items": value}
    ends = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
    kinds: dict[str, Any] = {"choice": several, "ordered": several}
    default = get_path(TrialConfig(), path)
    if isinstance(default, int | float) and not isinstance(default, bool):
        kinds |= {"int": ends, "uniform": ends, "log_uniform": ends}
    when = {"$ref": "#/$defs/Conditions"}
    step = {"type": "number", "exclusiveMinimum": 0}
    forms = [
        {
            **_closed({kind: form, "when": when, **({"step": step} if kind in STEPPED else {})}),
            "required": [kind],
        }
        for kind, form in kinds.items()
    ]
    forms.append({**_closed({"fixed": value}), "required": ["fixed"]})
    return {"description": description_of(path), "oneOf": forms}


STEPPED: Final = ("int", "uniform")


def _derived_schema() -> dict[str, Any]:
    """Return the three forms; a path is one of those that exist."""
    path = {"enum": list(PATHS)}
    told = {name: f.description for name, f in DerivedValue.model_fields.items()}
    table = TypeAdapter(dict[str, Any]).json_schema()
    factor = {"type": "number", "exclusiveMinimum": 0}
    forms: list[dict[str, Any]] = [
        {"equals": path},
        {"times": path, "by": factor},
        {"lookup": path, "values": table},
    ]
    return {
        "oneOf": [
            {
                **_closed({name: {"description": told[name], **s} for name, s in form.items()}),
                "required": list(form),
            }
            for form in forms
        ]
    }
