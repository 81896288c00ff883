"""Space files: inclusion, lines of errors, and the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from spectrum.config import read_yaml
from spectrum.errors import ConfigError
from spectrum.search.space import read_space_file
from spectrum.search.space_schema import space_schema

SHIPPED = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "top.yaml"


def test_a_file_goes_over_those_it_includes_and_the_later_one_over_the_earlier(
    tmp_path: Path,
) -> None:
    (tmp_path / "parts").mkdir()
    file = written(
        tmp_path,
        top="name: top\ninclude: [parts/a.yaml, parts/b.yaml]\nbase: {model: {depth: 3}}\n"
        "parameters:\n  model.slice_depth: {int: [0, 3]}\n",
    )
    written(
        tmp_path / "parts",
        a="name: a\nbase: {model: {depth: 2, patch_size: 4}}\nstudy: {seed: 3, num_trials: 7}\n"
        "parameters:\n  model.drop_rate: {choice: [0.0, 0.1]}\n"
        "  model.slice_depth: {int: [0, 1]}\n"
        "forbid: [{model.drop_rate: 0.1, model.slice_depth: 0}]\n",
        b="include: c.yaml\nname: b\nstudy: {seed: 4}\n"
        "forbid: [{model.drop_rate: 0.1, model.temporal_depth: 2}]\n",
        c="name: c\nparameters:\n  model.temporal_depth: {int: [0, 2]}\n",
    )
    reading = read_space_file(file)
    reading.check()
    space = reading.space
    assert space.name == "top"
    assert (space.default_config.model.depth, space.default_config.model.patch_size) == (3, 4)
    assert (space.study.seed, space.study.num_trials) == (4, 7)
    assert {path: str(p) for path, p in space.parameters.items()} == {
        "model.drop_rate": "{0.0, 0.1}",
        "model.slice_depth": "[0, 3]",
        "model.temporal_depth": "[0, 2]",
    }
    assert [list(forbidden) for forbidden in space.forbid] == [
        ["model.drop_rate", "model.slice_depth"],
        ["model.drop_rate", "model.temporal_depth"],
    ]
    assert len(reading.notes) == 1
    assert reading.notes[0].startswith(f"study.seed differs between {tmp_path}/parts/a.yaml:3")


def test_a_path_is_searched_or_derived_as_the_last_file_says(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        top="name: top\ninclude: a.yaml\nderive: {model.slice_depth: {equals: model.depth}}\n",
        a="name: a\nparameters:\n  model.slice_depth: {int: [0, 1]}\n"
        "  model.depth: {int: [1, 2]}\n",
    )
    space = read_space_file(file).space
    space.check()
    assert list(space.parameters) == ["model.depth"]
    assert list(space.derive) == ["model.slice_depth"]


def test_inclusion_without_end_is_refused_with_the_way_it_goes(tmp_path: Path) -> None:
    file = written(tmp_path, top="name: t\ninclude: [b.yaml]\n", b="name: b\ninclude: top.yaml\n")
    with pytest.raises(ConfigError, match=r"b\.yaml:2: top\.yaml includes b\.yaml includes top"):
        read_space_file(file)


def test_one_file_may_be_included_on_two_ways(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        top="name: t\ninclude: [a.yaml, b.yaml]\n",
        a="name: a\ninclude: c.yaml\n",
        b="name: b\ninclude: c.yaml\n",
        c="name: c\nparameters: {model.depth: {int: [1, 2]}}\n",
    )
    reading = read_space_file(file)
    assert list(reading.space.parameters) == ["model.depth"]
    assert reading.notes == ()


def test_files_that_include_each_other_ever_more_often_are_refused_soon(tmp_path: Path) -> None:
    for number in range(1, 12):
        (tmp_path / f"f{number}.yaml").write_text(
            f"name: f\ninclude: [f{number + 1}.yaml, f{number + 1}.yaml]\n"
        )
    (tmp_path / "f12.yaml").write_text("name: f\n")
    with pytest.raises(ConfigError, match="more than 100 files"):
        read_space_file(tmp_path / "f1.yaml")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: t\nparameters:\n  model.depht: {int: [1, 2]}\n", 3, "model.depht is no config"),
        ("name: t\nparameters:\n  model.depth:\n    int: [2, 1]\n", 3, "is empty or not positive"),
        ("name: t\nparameters:\n  model.depth:\n    choice: [1, x]\n", 4, "cannot be 'x'"),
        ("name: t\nbase:\n  model:\n    depth: 0\n", 4, "model.depth is 0"),
        ("name: t\nbase:\n  model:\n    deep: 1\n", 4, "model.deep is no config path"),
        ("name: t\nstudy:\n  num_trial: 3\n", 3, "study.num_trial is no config path"),
        ("name: t\nparameter: {}\n", 2, "parameter is no config path"),
        ("name: t\nparameters:\n  model.depth: {int: [3, 4]}\n", 3, "model.depth is 1 in the def"),
        ("name: t\nparameters:\n  seed: {int: [0, 4]}\n", 3, "seed cannot be searched"),
        ("name: t\nparameters:\n  preprocessing.fwhm_mm: {uniform: [0, 8]}\n", 3, "continuous"),
        ("name: t\nforbid:\n  - {model.depth: 1}\n", 3, "has a forbidden combination"),
        ("name: t\nderive:\n\n  model.depth: {equals: model.x}\n", 4, "model.x is no config path"),
        ("name: t\nparameters: {model.depth: {int: [1, 2]}\n", 3, "not readable as YAML"),
        ("name: t\nname: u\n", 1, "the key 'name' stands twice"),
        ("\n\nname: t\ninclude: [nowhere.yaml]\n", 4, "nowhere.yaml is no file"),
        ("name: t\ninclude: {a: b}\n", 2, "Give the names of files"),
        (
            "name: t\nparameters:\n  model.embed_dim: {choice: [32, 33]}\n",
            3,
            "model.embed_dim is 33 and model.num_heads 2",
        ),
    ],
)
def test_an_error_of_a_space_is_one_line_that_begins_with_file_and_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    file = written(tmp_path, top=text)
    with pytest.raises(ConfigError) as caught:
        read_space_file(file).check()
    told = str(caught.value)
    assert told.startswith(f"{file}:{line}")
    assert message in told
    assert "\n" not in told


def test_an_error_of_an_included_file_names_that_file_and_its_line(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        top="name: t\ninclude: [a.yaml]\n\nforbid:\n  - {model.patch_size: 4}\n",
        a="name: a\n\nforbid:\n  - {model.patch_size: 5}\n  - {model.depth: 1}\n",
    )
    with pytest.raises(ConfigError) as caught:
        read_space_file(file).check()
    assert str(caught.value).startswith(f"{tmp_path}/a.yaml:5: The default")


def test_an_error_of_a_setting_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, top="name: t\nbase:\n  model: {depth: 2}\n")
    with pytest.raises(ConfigError) as caught:
        read_space_file(file, ["model.depth=0"])
    assert "model.depth is 0" in str(caught.value)
    assert "top.yaml" not in str(caught.value)


def test_aliases_do_not_multiply_the_work(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    file = written(tmp_path, top="\n".join([*levels, "name: t"]))
    with pytest.raises(ConfigError, match="a0 is no config path"):
        read_space_file(file)


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    """The schema, itself found to be one."""
    written = space_schema()
    jsonschema.Draft202012Validator.check_schema(written)
    return jsonschema.Draft202012Validator(written)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_space_fits_the_schema(
    schema: jsonschema.Draft202012Validator, path: Path
) -> None:
    schema.validate(read_yaml(path))


@pytest.mark.parametrize(
    "space",
    [
        {"name": "t", "parameters": {"model.depht": {"int": [1, 2]}}},
        {"name": "t", "parameters": {"model.depth": {"choice": ["x"]}}},
        {"name": "t", "parameters": {"model.patch_pooling": {"int": [1, 2]}}},
        {"name": "t", "parameters": {"model.depth": {"int": [1, 2], "choice": [1]}}},
        {"name": "t", "parameters": {"seed": {"int": [1, 2]}}},
        {"name": "t", "base": {"model": {"deep": 1}}},
        {"name": "t", "forbid": [{"model.depht": 1}]},
        {"name": "t", "derive": {"model.depth": {"equals": "model.deep"}}},
        {"name": "t", "study": {"trials": 3}},
        {"parameters": {}},
    ],
)
def test_the_schema_refuses_what_reading_would(
    schema: jsonschema.Draft202012Validator, space: dict[str, Any]
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(space)


def test_the_schema_takes_every_form(schema: jsonschema.Draft202012Validator) -> None:
    space = {
        "name": "t",
        "include": "quickstart.yaml",
        "parameters": {
            "model.num_heads": {"ordered": [2, 4]},
            "model.drop_rate": {"uniform": [0, 0.5], "step": 0.1, "when": {"model.depth": [1, 2]}},
            "preprocessing.matrix": {"choice": [None, [4, 5, 6]]},
            "model.depth": {"fixed": 2},
        },
        "derive": {"sequences.stride": {"times": "sequences.num_volumes", "by": 0.5}},
        "forbid": [{"model.num_heads": [4], "model.drop_rate": 0.0}],
    }
    schema.validate(json.loads(json.dumps(space)))
