"""A study that is killed and resumed five times is the undisturbed one, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.cycles import compare

NUM_CYCLES = 5
NUM_TRIALS = 14
"""The kills of this seed land in the first ten."""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.beside
@pytest.mark.timeout(1200)
def test_five_times_started_killed_and_resumed_is_the_undisturbed_study_without_leaks(
    tmp_path: Path,
) -> None:
    rows = list(compare(tmp_path, NUM_TRIALS, NUM_CYCLES))
    assert len(rows) == 4
    assert all(row["case"].startswith(f"{NUM_CYCLES} times started") for row in rows), rows
    assert all(row["met"] for row in rows), rows
