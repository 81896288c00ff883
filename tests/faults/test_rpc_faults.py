"""RPCs between Ray's processes that fail, at the request or at the answer: no trial is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.search.test_driver import lines_of

CHECKOUT = Path(__file__).parents[2]
NUM_TRIALS = 6
METHODS = (
    "CoreWorkerService.grpc_client.PushTask",
    "NodeManagerService.grpc_client.RequestWorkerLease",
    "CoreWorkerService.grpc_client.GetObjectStatus",
)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("side", ["req_failure_prob", "resp_failure_prob"])
def test_a_search_whose_rpcs_fail_ends_with_each_trial_once(tmp_path: Path, side: str) -> None:
    faults = json.dumps({method: {"num_failures": 1, side: 100} for method in METHODS})
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.killable_search", str(tmp_path / "s"),
         str(NUM_TRIALS)],
        cwd=CHECKOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAY_testing_rpc_failure": faults},
        capture_output=True,
        text=True,
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = lines_of(tmp_path / "s")
    assert sorted(line["number"] for line in lines) == list(range(NUM_TRIALS))
    tracked = {int(p.stem): json.loads(p.read_text()) for p in (tmp_path / "tracked").iterdir()}
    assert tracked == {line["number"]: line for line in lines}
