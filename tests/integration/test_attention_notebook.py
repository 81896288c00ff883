"""Notebooks run from top to bottom on tiny data, and carry no outputs in the repository."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ANALYSIS = Path(__file__).parents[2] / "analysis"


def test_the_attention_notebook_carries_no_outputs() -> None:
    notebook = nbformat.read(ANALYSIS / "attention.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.ray
@pytest.mark.slow
def test_the_attention_notebook_runs_to_its_table_of_peaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_SUBJECTS", "1")
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_EPOCHS", "1")
    monkeypatch.setenv("SPECTRUM_NOTEBOOK_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ANALYSIS.parent)]))
    notebook = nbformat.read(ANALYSIS / "attention.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    *_, figure, peaks = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert any("image/png" in out.get("data", {}) for out in figure.outputs)
    assert "gradients" in peaks.outputs[0]["data"]["text/plain"]
