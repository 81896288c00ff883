"""Files and names that were made to harm whoever reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_in_a_hostile_file_or_name_is_run_hangs_or_fills_the_memory() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.faults.hostile_files", "--json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    *told, sums = map(json.loads, ran.stdout.splitlines())
    assert [case for case in told if not case["met"]] == [], ran.stderr[-2000:]
    assert sums["tried"] == len(told) > 250
    assert ran.returncode == 0
