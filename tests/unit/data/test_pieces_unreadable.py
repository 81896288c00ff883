"""A file beside an image that fails whoever reads it refuses its run, and ends nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.inputs import select_inputs
from spectrum.data.pieces import RunJob, finish_run

BROKEN = "/proc/self/mem"
"""A file that is there, may be opened, and whose first byte is an error (EIO)."""


@pytest.fixture
def job(tmp_path: Path, tiny_bids: Callable[..., Path]) -> RunJob:
    folder = tmp_path / "pieces"
    folder.mkdir()
    recipe = PreprocessingConfig(voxel_mm=20.0, high_pass_hz=0.0)
    return select_inputs(index_bids([tiny_bids()]), recipe, None, folder).jobs[0]


@pytest.mark.parametrize("name", ["mask_path", "confounds_path"])
def test_a_file_beside_the_image_that_cannot_be_read_refuses_the_run_by_name(
    job: RunJob, name: str
) -> None:
    outcome = finish_run(job.model_copy(update={name: BROKEN}))
    assert outcome.run is None
    assert outcome.refusal is not None
    assert (outcome.refusal.code, outcome.refusal.path) == ("unreadable", BROKEN)
    assert job.path in outcome.digests
    assert BROKEN not in outcome.digests
    assert finish_run(job).refusal is None
