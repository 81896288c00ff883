"""Every notebook of ``analysis/`` runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

import ast
import importlib
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

CELL_S = 300

LAST_WORDS = {
    "attention": "gradients",
    "learned_spectrum": "majority",
    "study": "what it is",
}
"""What the last table of each notebook tells."""


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def test_the_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(LAST_WORDS)


@each_notebook
def test_a_notebook_is_kept_without_outputs_and_counts(path: Path) -> None:
    code = code_cells(read(path))
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@each_notebook
def test_all_that_a_notebook_imports_from_spectrum_is_there(path: Path) -> None:
    source = "\n".join(cell.source for cell in code_cells(read(path)))
    imports = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spectrum.")
        for alias in node.names
    ]
    assert imports
    missing = [
        (module, name)
        for module, name in imports
        if not hasattr(importlib.import_module(module), name)
    ]
    assert missing == []


@pytest.mark.slow
@pytest.mark.ray
@each_notebook
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_SUBJECTS", "1")
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_EPOCHS", "1")
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("SPECTRUM_STUDY", raising=False)
    notebook = read(path)
    client = NotebookClient(
        notebook,
        timeout=CELL_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    done = code_cells(notebook)
    assert all(cell.execution_count for cell in done)
    shown = [out.get("data", {}) for cell in done for out in cell.outputs]
    assert any("image/png" in data for data in shown)
    *_, table = [data["text/plain"] for data in shown if "text/html" in data]
    assert LAST_WORDS[path.stem] in table
