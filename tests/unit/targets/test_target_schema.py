"""The JSON Schema refuses what reading refuses, as far as one value at a time can show it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from spectrum.config import write_yaml
from spectrum.errors import TargetError
from spectrum.targets import Target, read_target, shipped_targets, target_schema
from spectrum.targets import reading as home

SCHEMA = target_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

RUNS: dict[str, Any] = {
    "classes": ["first", "second"],
    "paired": True,
    "confounded_with": ["task"],
    "rules": [
        {"dataset": "dsA", "task": "rest", "run": 1, "class": "first", "source": "logbook"},
        {
            "dataset": "dsA",
            "task": "rest",
            "run": 2,
            "session": "02",
            "subject": "01",
            "class": "second",
            "source": "logbook",
            "note": "tired",
        },
    ],
    "excluded": [{"dataset": "dsA", "task": "tone", "reason": "localizer", "source": "logbook"}],
}
EVENTS: dict[str, Any] = {
    "name": "category",
    "description": "What was seen.",
    "classes": ["face", "house"],
    "event": {
        "trial_types": {"Face": "face", "House": "house"},
        "hrf_delay_s": 4.5,
        "duration_s": 8,
        "tasks": ["seeing"],
        "source": "README",
    },
}


def is_refused_by_schema(mapping: Any) -> bool:
    return not VALIDATOR.is_valid(mapping)


def errors_of_ours(mapping: dict[str, Any]) -> list[str]:
    try:
        Target.model_validate({"name": "mine", **mapping}, by_alias=True, by_name=False)
    except ValidationError as err:
        return [error["type"] for error in err.errors()]
    return []


def test_the_schema_is_one_and_names_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_key_of_the_schema_has_a_description() -> None:
    parts = [SCHEMA, *SCHEMA["$defs"].values()]
    silent = [
        key
        for part in parts
        for key, told in part["properties"].items()
        if "description" not in told
    ]
    assert silent == []
    assert "class" in SCHEMA["$defs"]["RunRule"]["properties"]
    assert "class_name" not in json.dumps(SCHEMA)


@pytest.mark.parametrize("name", shipped_targets())
def test_shipped_files_are_valid(name: str) -> None:
    text = (Path(home.__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize("mapping", [RUNS, EVENTS])
def test_a_valid_file_is_valid_to_both(mapping: dict[str, Any]) -> None:
    assert not is_refused_by_schema(mapping)
    assert errors_of_ours(mapping) == []


@pytest.mark.parametrize("name", shipped_targets())
def test_a_target_written_out_is_valid_and_reads_back(name: str, tmp_path: Path) -> None:
    target = read_target(name)
    written = target.model_dump(mode="json", by_alias=True)
    VALIDATOR.validate(written)
    path = tmp_path / "again.yaml"
    path.write_text(write_yaml(written), encoding="utf-8")
    assert read_target(str(path)) == target


@pytest.mark.parametrize(
    ("whole", "path", "value"),
    [
        (RUNS, ("classes",), ["first"]),
        (RUNS, ("classes",), "first"),
        (RUNS, ("classes",), ["first", "second", "first"]),
        (RUNS, ("classes",), ["first", ""]),
        (RUNS, ("classes",), ["first", "second", "third"]),
        (RUNS, ("clases",), ["first", "second"]),
        (RUNS, ("name",), ""),
        (RUNS, ("paired",), "yes"),
        (RUNS, ("confounded_with",), ["scanner"]),
        (RUNS, ("rules",), []),
        (RUNS, ("rules", 0, "run"), "1"),
        (RUNS, ("rules", 0, "run"), True),
        (RUNS, ("rules", 0, "run"), -1),
        (RUNS, ("rules", 0, "run"), 1.5),
        (RUNS, ("rules", 0, "subject"), 1),
        (RUNS, ("rules", 0, "subject"), "sub-01"),
        (RUNS, ("rules", 0, "sesion"), "01"),
        (RUNS, ("rules", 0, "class_name"), "first"),
        (RUNS, ("rules", 0, "source"), ""),
        (RUNS, ("excluded", 0, "class"), "first"),
        (RUNS, ("excluded", 0, "reason"), ""),
        (RUNS, ("event",), EVENTS["event"]),
        (EVENTS, ("paired",), True),
        (EVENTS, ("event",), None),
        (EVENTS, ("event", "trial_types"), {}),
        (EVENTS, ("event", "trial_types"), {"": "face", "x": "house"}),
        (EVENTS, ("event", "hrf_delay_s"), -1),
        (EVENTS, ("event", "hrf_delay_s"), 31),
        (EVENTS, ("event", "hrf_delay_s"), "5"),
        (EVENTS, ("event", "duration_s"), 0),
        (EVENTS, ("event", "duration_s"), 601),
        (EVENTS, ("event", "tasks"), ["seeing", "seeing"]),
        (EVENTS, ("event", "tasks"), ["task-seeing"]),
    ],
)
def test_broken_files_are_refused_by_both(
    whole: dict[str, Any], path: tuple[str | int, ...], value: Any
) -> None:
    broken = with_value(whole, path, value)
    assert is_refused_by_schema(broken)
    assert errors_of_ours(broken)


@pytest.mark.parametrize(
    ("whole", "path", "value"),
    [
        (RUNS, ("rules", 0, "class"), "frist"),
        (RUNS, ("rules", 1, "class"), "first"),
        (RUNS, ("rules", 1, "run"), 1),
        (RUNS, ("excluded", 0, "task"), "rest"),
        (EVENTS, ("event", "trial_types", "Face"), "house"),
    ],
)
def test_what_takes_two_values_to_see_is_refused_by_reading_alone(
    whole: dict[str, Any], path: tuple[str | int, ...], value: Any
) -> None:
    broken = with_value(whole, path, value)
    assert not is_refused_by_schema(broken)
    assert errors_of_ours(broken) == ["value_error"]


def test_a_run_written_as_a_decimal_is_whole_to_json_schema_but_refused_when_read() -> None:
    changed = with_value(RUNS, ("rules", 0, "run"), 1.0)
    assert not is_refused_by_schema(changed)
    assert errors_of_ours(changed) == ["int_type"]


def with_value(whole: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    broken = copy.deepcopy(whole)
    place: Any = broken
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return broken


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [p for key, v in inner for p in [(*path, key), *paths_of(v, (*path, key))]]


words = st.sampled_from(["", "a", "first", "face", "sub-01", "rest", "task"])
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 700),
    st.sampled_from([0.5, 30.5, 700.5]),
    words,
    st.lists(words, max_size=3),
    st.dictionaries(words, words, max_size=2),
)


@given(st.data())
def test_schema_and_reading_agree_on_any_one_change(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([RUNS, EVENTS]))
    path = data.draw(st.sampled_from(paths_of(whole)))
    changed = with_value(whole, path, data.draw(values))
    errors = errors_of_ours(changed)
    if is_refused_by_schema(changed):
        assert errors
    else:
        assert set(errors) <= {"value_error"}


@given(st.data())
def test_schema_and_reading_agree_on_any_key_left_out_or_misspelt(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([RUNS, EVENTS]))
    path = data.draw(st.sampled_from([p for p in paths_of(whole) if isinstance(p[-1], str)]))
    changed = copy.deepcopy(whole)
    place: Any = changed
    for part in path[:-1]:
        place = place[part]
    value = place.pop(path[-1])
    if data.draw(st.booleans()):
        place[f"{path[-1]}x"] = value
    errors = errors_of_ours(changed)
    if is_refused_by_schema(changed):
        assert errors
    else:
        assert set(errors) <= {"value_error"}


def test_the_name_of_a_field_in_python_is_no_key_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        write_yaml(RUNS).replace("class: first", "class_name: first"), encoding="utf-8"
    )
    with pytest.raises(TargetError, match=r"row 1 of rules: class_name is no known key.*'class'"):
        read_target(str(path))
