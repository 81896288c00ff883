"""The JSON Schema of target files, for editors. Not here: what only reading can check.

A schema sees one value at a time: that the class of a row is among the classes, that no two rows
cover one run, and that no class is without a row is checked when the file is read.
"""

from __future__ import annotations

from typing import Any, Final

from spectrum.targets.target import Target

__all__ = ["target_schema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""The dialect that pydantic writes."""

_ONE_KIND: Final = [
    {"required": ["rules"], "properties": {"rules": {"minItems": 1}}},
    {"required": ["event"], "properties": {"event": {"type": "object"}}},
]
"""Rules for runs, or event for events, not both."""

_PAIRED: Final = {
    "if": {"required": ["paired"], "properties": {"paired": {"const": True}}},
    "then": {"required": ["rules"], "properties": {"classes": {"maxItems": 2}}},
}
"""A paired target has two classes of runs."""


def target_schema() -> dict[str, Any]:
    """Return the JSON Schema of a target file, as plain JSON.

    ``name`` is not required, as a file without it is named after itself.

    Examples
    --------
    >>> target_schema()["required"]
    ['classes']
    """
    schema = Target.model_json_schema(by_alias=True)
    required = [name for name in schema["required"] if name != "name"]
    return {"$schema": DIALECT, **schema, "required": required, "oneOf": _ONE_KIND, **_PAIRED}
