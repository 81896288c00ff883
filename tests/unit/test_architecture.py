"""The house: doorways of heavy libraries, what a file may hold, what docstrings must name."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import spectrum

PACKAGE = Path(spectrum.__file__).parent
FILES = sorted(
    path for path in PACKAGE.rglob("*.py") if "spaces" not in path.relative_to(PACKAGE).parts
)

DOORWAYS = {
    "aim": ("tracking",),
    "captum": ("model/attention_maps.py",),
    "SimpleITK": ("data/registration/itk.py",),
    "timm": ("model/encoder.py", "model/weights.py"),
    "optuna": (
        "search/importance.py",
        "search/optuna_study.py",
        "search/pruning.py",
        "search/regret.py",
    ),
    "pyarrow.fs": ("storage/objects.py",),
    "pyarrow.parquet": ("data/shard_files.py", "data/shards.py"),
    "ray.data": ("data/fan_out.py",),
    "ray.train": ("training/workers.py",),
    "ray.tune": ("search/tune_adapters.py", "search/trial_actor.py"),
    "isal": ("data/image_streams.py", "data/parquet_pages.py", "data/simulate/writing.py"),
    "boto3": ("data/download/bucket.py",),
    "botocore": ("data/download/bucket.py",),
}

FORBIDDEN_CALLS = ("eval", "exec")
FORBIDDEN_MODULES = ("pickle", "cloudpickle", "dill", "joblib", "shelve")


@cache
def _tree(path: Path) -> ast.Module:
    """Return a file parsed, once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _names(path: Path) -> frozenset[str]:
    return frozenset(_iter_names(path))


def _iter_names(path: Path) -> Iterator[str]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def _imports(path: Path, library: str) -> bool:
    return any(name == library or name.startswith(f"{library}.") for name in _names(path))


@pytest.mark.parametrize("library", sorted(DOORWAYS))
def test_a_heavy_library_enters_through_its_doorway_alone(library: str) -> None:
    importers = {str(path.relative_to(PACKAGE)) for path in FILES if _imports(path, library)}
    strangers = {name for name in importers if not name.startswith(DOORWAYS[library])}
    assert importers, f"nobody imports {library}: the table of doorways is out of date"
    assert not strangers


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_stays_under_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_reads_pickles_or_runs_text_as_code(path: Path) -> None:
    calls = {
        node.func.id
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & set(FORBIDDEN_CALLS)
    assert not any(_imports(path, module) for module in FORBIDDEN_MODULES)


def _public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (n for n in node.body if isinstance(n, ast.FunctionDef))


def _documented_parameters(docstring: str) -> set[str]:
    section = re.search(r"Parameters\n-+\n(.*?)(?:\n\n[A-Z]\w*\n-+|\Z)", docstring, re.DOTALL)
    heads = re.findall(r"^(\w[\w, *]*) :", section[1], re.MULTILINE) if section else []
    return {name.strip(" *") for head in heads for name in head.split(",")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_parameters_section_names_only_parameters_of_the_signature(path: Path) -> None:
    for function in _public_functions(_tree(path)):
        arguments = function.args
        known = {
            argument.arg
            for argument in [
                *arguments.posonlyargs,
                *arguments.args,
                *arguments.kwonlyargs,
                *filter(None, [arguments.vararg, arguments.kwarg]),
            ]
        }
        docstring = inspect.cleandoc(ast.get_docstring(function) or "")
        assert _documented_parameters(docstring) <= known, function.name
