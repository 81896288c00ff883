"""A cluster of this machine whose autoscaler brings and ends nodes, by Ray's fake provider.

The autoscaler, its decisions and the nodes' raylets are Ray's own; only the provider is fake: it
starts a node's processes here in the place of a machine. All demands a token.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.test_ray_up_start import free_ports

HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""What Ray's fake provider calls the head."""

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE_MINUTES = 0.1

LISTS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)
"""What a launcher would do on machines; an autoscaler wants it named."""


@dataclass(frozen=True, slots=True)
class AutoscaledCluster:
    """Where it is reached, and the environment in which it demands and is sent the token."""

    address: str
    environment: dict[str, str]
    log: Path


@contextmanager
def autoscaled_cluster(*, max_workers: int) -> Iterator[AutoscaledCluster]:
    """Start a head without a CPU, to which up to ``max_workers`` nodes of one CPU may come."""
    # Short, as sockets have short paths.
    home = Path(tempfile.mkdtemp(prefix="as", dir="/tmp"))
    (port,) = free_ports(1)
    environment = _environment(home)
    settings = home / "autoscaler.json"
    settings.write_text(json.dumps(_settings(f"127.0.0.1:{port}", max_workers)))
    try:
        with (home / "log").open("wb") as log:
            done = subprocess.run(
                [
                    Path(sys.executable).with_name("ray"), "start", "--head", "--num-cpus=0",
                    f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false",
                    "--object-store-memory=100000000", "--min-worker-port=0",
                    "--max-worker-port=0", "--dashboard-agent-listen-port=0",
                    f"--autoscaling-config={settings}",
                ],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        assert done.returncode == 0, (home / "log").read_text()[-3000:]
        yield AutoscaledCluster(f"127.0.0.1:{port}", environment, home / "log")
    finally:
        _end_all(home)
        shutil.rmtree(home, ignore_errors=True)


def _environment(home: Path) -> dict[str, str]:
    state = home / ".spectrum"
    state.mkdir(mode=0o700)
    token = state / "ray_token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    others = {name: value for name, value in os.environ.items() if "RAY_AUTH" not in name}
    return {
        **others,
        "HOME": str(home),
        "RAY_TMPDIR": str(home / "t"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_FAKE_CLUSTER": "1",
        "RAY_raylet_start_wait_time_s": "120",
        # A raylet ends where its agents are not ready in 15 s.
        "RAY_agent_register_timeout_ms": "120000",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "OMP_NUM_THREADS": "1",
    }


def _settings(address: str, max_workers: int) -> dict[str, object]:
    worker = {"CPU": 1, "object_store_memory": 100_000_000}
    return {
        "cluster_name": "autoscaled",
        "max_workers": max_workers,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 10.0,
        "provider": {
            # By its module, as the settings that go with its name are not in Ray's wheel.
            "type": "external",
            "module": PROVIDER,
            "gcs_address": address,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            # Its nodes share one address, and there is no launcher to update them.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {
                "resources": worker,
                "node_config": {},
                "min_workers": 0,
                "max_workers": max_workers,
            },
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in LISTS},
    }


def _end_all(home: Path) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == str(home):
                process.kill()
