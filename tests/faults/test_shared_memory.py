"""A container's 64 MiB of shared memory, as Docker gives it: Ray keeps its objects elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_two_nodes import RUNS, SPACE, Commands
from tests.unit.search.test_driver import lines_of

INSIDE = (
    *("unshare", "--mount", "sh", "-c"),
    'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"',
    "sh",
)
"""What runs a command with a small disk over the machine's shared memory."""

NUM_TRIALS = 2


@pytest.fixture
def spectrum(tmp_path: Path) -> Commands:
    tried = subprocess.run([*INSIDE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no shared memory can be mounted here: {tried.stderr.strip()}")
    return Commands(tmp_path, before=INSIDE)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_of_trials_of_two_workers_ends_in_64_mib_of_shared_memory(
    spectrum: Commands, tiny_bids: Callable[..., Path]
) -> None:
    base: dict[str, Any] = dict(SPACE["base"])  # type: ignore[call-overload]
    base["training"] = {**base["training"], "workers": 2, "feeding": "node"}
    space = {**SPACE, "base": base, "parameters": {"model.embed_dim": {"choice": [8, 12]}}}
    (spectrum.home / "small.yaml").write_text(yaml.safe_dump(space))
    asked = ("search", "small.yaml", str(tiny_bids(runs=RUNS)), "--name", "small", "--cpus", "2")
    done = spectrum(*asked, "--trials", str(NUM_TRIALS))
    assert done.returncode == 0, done.stderr
    lines = lines_of(spectrum.home / "studies/small")
    assert [line["state"] for line in lines] == ["complete"] * NUM_TRIALS
