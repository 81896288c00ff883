"""The commands by which ``cluster/ray-up`` starts Ray on a head and a worker, run on this machine.

Left out: ``ray stop``, which would end every Ray here, and the launcher that asks for machines.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
import yaml
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

RAY_UP = Path(__file__).parents[2] / "cluster/ray-up"
FILES = ("aws", "gcp", "on-premise")
SHARED_MACHINE = "--min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


def start_of(name: str, role: str) -> str:
    """Return the command that starts Ray on a node, without the launcher's configuration."""
    commands = yaml.safe_load((RAY_UP / f"{name}.yaml").read_text("utf-8"))
    (start,) = [line for line in commands[f"{role}_start_ray_commands"] if "ray start" in line]
    return re.sub(r"--autoscaling-config=\S+", "", start).strip()


def free_ports(number: int) -> list[int]:
    """Return ports that are free now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


class Machines:
    """A head and a worker that the commands have started under one home."""

    def __init__(self, home: Path, token: str) -> None:
        self.home, self.token = home, token
        self.port, self.dashboard, self.client = free_ports(3)

    def start(self) -> None:
        """Run the head's command, then the worker's, which find their files under the home."""
        head = start_of("on-premise", "head").replace("6379", str(self.port))
        ports = f"--dashboard-port={self.dashboard} --ray-client-server-port={self.client}"
        self.run(f"{head} --num-cpus=1 {ports} {SHARED_MACHINE}")
        worker = start_of("on-premise", "worker").replace("6379", str(self.port))
        self.run(f"RAY_HEAD_IP=127.0.0.1; {worker} --num-cpus=1 {SHARED_MACHINE}")

    def run(self, command: str) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if "RAY_AUTH" not in name},
            "HOME": str(self.home),
            "RAY_TMPDIR": str(self.home / "t"),
            "RAY_raylet_start_wait_time_s": "120",
        }
        log = self.home / "log"
        with log.open("ab") as file:
            done = subprocess.run(
                ["bash", "-c", command], env=environment, stdout=file, stderr=file, check=False
            )
        assert done.returncode == 0, log.read_text(encoding="utf-8")[-3000:]

    def processes(self) -> list[psutil.Process]:
        """Return all that runs under the home."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def num_nodes(self, token: str | None) -> int:
        """Ask the head for its nodes; raises grpc.RpcError where it does not say."""
        sent = [("authorization", f"Bearer {token}")] if token else []
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            told = stub.GetAllNodeInfo(
                gcs_service_pb2.GetAllNodeInfoRequest(), timeout=20, metadata=sent
            )
        return len(told.node_info_list)

    def status(self, method: str, token: str | None) -> int:
        """Ask the jobs API, which runs code for whoever it believes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.dashboard, timeout=60)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = '{"entrypoint": "true"}' if method == "POST" else None
        try:
            connection.request(method, "/api/jobs/", body=body, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    home = Path(tempfile.mkdtemp(prefix="up", dir="/tmp"))
    (home / "venv").symlink_to(sys.prefix)
    (home / ".spectrum").mkdir()
    started = Machines(home, secrets.token_hex(32))
    token = home / ".spectrum/ray_token"
    token.write_text(started.token, encoding="utf-8")
    token.chmod(0o644)
    try:
        started.start()
        yield started
    finally:
        for process in started.processes():
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(home, ignore_errors=True)


def test_all_files_start_ray_by_the_same_commands() -> None:
    for role in ("head", "worker"):
        assert len({start_of(name, role) for name in FILES}) == 1


def test_a_token_that_others_could_read_is_closed(machines: Machines) -> None:
    assert (machines.home / ".spectrum/ray_token").stat().st_mode & 0o777 == 0o600


def test_both_machines_join_with_the_token(machines: Machines) -> None:
    end = time.monotonic() + 60
    while machines.num_nodes(machines.token) < 2 and time.monotonic() < end:
        time.sleep(1)
    assert machines.num_nodes(machines.token) == 2


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_nobody_commands_them_without_it(machines: Machines, token: str | None) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        machines.num_nodes(token)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
    for method in ("GET", "POST"):
        assert machines.status(method, token) in (401, 403)
    assert machines.status("GET", machines.token) == 200


def test_the_token_stands_on_no_command_line_and_in_no_log(machines: Machines) -> None:
    commands = []
    for process in machines.processes():
        with suppress(psutil.Error):
            commands.append(" ".join(process.cmdline()))
    assert commands
    assert not any(machines.token in command for command in commands)
    logs = [path for path in (machines.home / "t").rglob("*") if path.is_file()]
    assert logs
    assert not any(machines.token.encode() in path.read_bytes() for path in logs)
