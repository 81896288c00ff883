"""Benchmarks run by their path as well as by their module's name."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ROOT_LINE = "sys.path.insert(0, str(Path(__file__).parents[2]))"
PROGRAMS = sorted(p for p in BENCHMARKS.glob("*.py") if "__main__" in p.read_text())


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_benchmark_finds_the_other_files_of_tests_by_itself(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith("from tests.")), None)
    assert first is None or ROOT_LINE in lines[:first]
