"""A search on a cluster without workers: its autoscaler brings those it wants, and ends them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.autoscaled_cluster import AutoscaledCluster, autoscaled_cluster
from tests.integration.test_study_whole import RUNS, tiny_space
from tests.unit.search.test_driver import lines_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NODES = """
import json, ray
ray.init(address={address!r}, logging_level="ERROR")
told = [(n["Alive"], n["Resources"].get("CPU", 0)) for n in ray.nodes()]
print(json.dumps(told))
"""


def worker_nodes(cluster: AutoscaledCluster) -> list[bool]:
    """Whether each node of one CPU that ever came is alive."""
    done = subprocess.run(
        [sys.executable, "-c", NODES.format(address=cluster.address)],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [alive for alive, cpus in json.loads(done.stdout.splitlines()[-1]) if cpus or not alive]


def most_at_a_time(lines: list[dict[str, Any]]) -> int:
    """Return how many trials ran side by side when most did, for longer than a second.

    Their starts are told in whole seconds, so that of two in turn the second may seem to begin
    before the first has ended.
    """
    begins = [datetime.fromisoformat(line["started"]).timestamp() for line in lines]
    ends = [begin + line["seconds"] for begin, line in zip(begins, lines, strict=True)]
    return max(
        sum(b <= begin < e - 1.0 for b, e in zip(begins, ends, strict=True)) for begin in begins
    )


def searched(
    cluster: AutoscaledCluster, folder: Path, root: Path, **study: object
) -> subprocess.CompletedProcess[str]:
    space = tiny_space(rerun={"top": 0}, ladder="none", **study)
    folder.mkdir()
    file = folder / "space.yaml"
    file.write_text(
        yaml.safe_dump(space.model_dump(mode="json", by_alias=True, exclude_unset=True))
    )
    command = "from spectrum.cli import main; main()"
    where = ["--studies", str(folder / "studies"), "--shards", str(folder / "shards")]
    return subprocess.run(
        [sys.executable, "-c", command, "search", str(file), str(root), *where,
         "--address", cluster.address, "--json"],
        env=cluster.environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_a_search_gets_the_machines_that_it_wants_and_they_go_after_it(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    root = tiny_bids(runs=RUNS)
    with autoscaled_cluster(max_workers=2) as cluster:
        assert worker_nodes(cluster) == []
        refused = searched(cluster, tmp_path / "without", root, num_trials=4)
        assert refused.returncode == 1
        assert "the cluster has 0 CPUs" in refused.stderr
        assert "study.concurrent_trials" in refused.stderr
        done = searched(
            cluster, tmp_path / "with", root, num_trials=6, concurrent_trials=2, gpus_per_worker=0
        )
        assert done.returncode == 0, done.stderr[-3000:] + cluster.log.read_text()[-3000:]
        assert "It may get machines: waiting" in done.stderr
        lines = lines_of(tmp_path / "with/studies/tiny")
        assert sorted(line["number"] for line in lines) == list(range(6))
        assert {line["state"] for line in lines} <= {"complete", "pruned"}
        assert len(worker_nodes(cluster)) >= 2
        assert most_at_a_time(lines) == 2
        until = time.monotonic() + 120
        while any(worker_nodes(cluster)) and time.monotonic() < until:
            time.sleep(3)
        assert not any(worker_nodes(cluster))
