"""Every notebook of ``analysis/`` runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
PLAIN = [path for path in NOTEBOOKS if path.stem != "attention"]
"""Notebooks that are small as they are; the attention notebook is made small by its settings."""

CELL_S = 300


def test_the_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"attention", "learned_spectrum", "study"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs_and_counts(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("SPECTRUM_STUDY", raising=False)
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=CELL_S, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    done = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in done)
    assert any("image/png" in out.get("data", {}) for cell in done for out in cell.outputs)


@pytest.mark.ray
@pytest.mark.slow
def test_the_attention_notebook_runs_to_its_table_of_peaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_SUBJECTS", "1")
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_EPOCHS", "1")
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "analysis" / "attention.ipynb", as_version=4)
    NotebookClient(notebook, timeout=CELL_S, kernel_name="python3").execute(cwd=str(tmp_path))
    *_, figure, peaks = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any("image/png" in out.get("data", {}) for out in figure.outputs)
    assert "gradients" in peaks.outputs[0]["data"]["text/plain"]
