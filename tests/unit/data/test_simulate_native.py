"""Full-size runs, and the same bytes however they are made."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spectrum.data.simulate import (
    NATIVE_MATRIX,
    TRUTHS,
    SimulatedRun,
    SimulationConfig,
    TruthName,
    planned_runs,
    simulate,
    simulate_run,
)
from spectrum.data.simulate.writing import _write_run
from spectrum.entities import RunKey

KEY = RunKey(dataset="ds000011", subject="03", task="tonecounting")
MAX_SIZES = 5.0
"""Memory over size of the int16 image: float32 signal (2), image (1), and blocks of volumes, which
weigh most in this task, the shortest."""

PROGRAM = """
import hashlib
from spectrum.data.simulate import SimulationConfig, planned_runs, simulate_run
config = SimulationConfig(
    truth="reversal", matrix=32, num_subjects=1, seed=2, datasets=("ds000052",)
)
for key in {order}(planned_runs(config)):
    print(key, hashlib.sha256(simulate_run(key, config).data_XYZV.tobytes("F")).hexdigest())
"""


def _digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_number_of_cpus_changes_no_byte(truth: TruthName, tmp_path: Path) -> None:
    config = SimulationConfig(truth=truth, matrix=8, num_subjects=1, datasets=("ds000052",))
    written = []
    for cpus in (1, 3):
        simulate(tmp_path / str(cpus), config, cpus=cpus)
        written.append(_digests(tmp_path / str(cpus)))
    assert written[0] == written[1]
    assert len(written[0]) >= 2 * len(planned_runs(config))


def test_neither_process_nor_order_nor_threads_of_blas_change_a_byte() -> None:
    printed = []
    for order, threads in (("list", "1"), ("reversed", "2")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(order=order)],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(sorted(done.stdout.splitlines()))
    assert printed[0] == printed[1]
    assert len(printed[0]) == 4


def test_a_failed_run_ends_the_simulation(tmp_path: Path) -> None:
    config = SimulationConfig(truth="null", matrix=8, num_subjects=1, datasets=("ds000052",))
    folder = tmp_path / "ds000052"
    simulate(tmp_path, config)
    image = next(folder.rglob("*_bold.nii.gz"))
    image.unlink()
    image.mkdir()
    with pytest.raises(IsADirectoryError):
        simulate(tmp_path, config, cpus=2)


@pytest.fixture(scope="module")
def native() -> tuple[SimulatedRun, float]:
    config = SimulationConfig(truth="clock", matrix=NATIVE_MATRIX, num_subjects=3)
    tracemalloc.start()
    run = simulate_run(KEY, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return run, peak / run.data_XYZV.nbytes


def test_a_full_size_run_has_the_scanners_geometry(native: tuple[SimulatedRun, float]) -> None:
    run, _ = native
    assert run.data_XYZV.shape[:3] == (64, 64, 30)
    assert 103 <= run.data_XYZV.shape[3] <= 112
    np.testing.assert_allclose(np.diag(run.affine)[:3], (3.125, 3.125, 5.0))


def test_a_full_size_run_needs_little_more_memory_than_its_image(
    native: tuple[SimulatedRun, float],
) -> None:
    assert native[1] < MAX_SIZES


def test_a_full_size_file_is_as_large_as_a_real_one(
    native: tuple[SimulatedRun, float], tmp_path: Path
) -> None:
    run, _ = native
    _write_run(tmp_path, run)
    (path,) = tmp_path.rglob("*_bold.nii.gz")
    share = path.stat().st_size / run.data_XYZV.nbytes
    assert 0.548 - 0.03 < share < 0.614 + 0.03
    assert path.read_bytes()[4:9] == b"\0\0\0\0\0"
    with gzip.open(path) as stream:
        assert len(stream.read()) == 352 + run.data_XYZV.nbytes
    np.testing.assert_array_equal(np.asanyarray(nib.load(path).dataobj), run.data_XYZV)
