"""Two hosts with addresses of their own on one machine, as network namespaces on a bridge.

    python -m tests.faults.hosts --json

A head and a worker node, each in a namespace and one CPU, run a study of trials of one and of two
workers; then the second node loses the folder of the study (an empty disk over it, as on a host
without the shared storage), and a second study is refused with its name. Needs root and ``ip``.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.benchmarks.no_op_trials import told
from tests.benchmarks.telling import tell
from tests.unit.search.test_driver import lines_of

CHECKOUT = Path(__file__).parents[2]
BRIDGE = "spbr0"
HOSTS = {"sphost1": "10.213.7.1", "sphost2": "10.213.7.2"}
MACHINE = "10.213.7.254"
"""Address at which both reach the machine that they are on."""

PORT = 6379
NUM_TRIALS = 6
TO_START_S = 240.0
TO_END_S = 10.0


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def two_hosts() -> Iterator[None]:
    """Give two namespaces with an address each on one bridge, where this machine has one too."""
    with ExitStack() as stack:
        ip("link", "add", BRIDGE, "type", "bridge")
        stack.callback(ip, "link", "del", BRIDGE)
        ip("addr", "add", f"{MACHINE}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for index, (name, address) in enumerate(HOSTS.items()):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            stack.callback(end_all_inside, name)
            ip("link", "add", f"spv{index}", "type", "veth", "peer", "eth0", "netns", name)
            ip("link", "set", f"spv{index}", "master", BRIDGE, "up")
            for words in (
                ["addr", "add", f"{address}/24", "dev", "eth0"],
                ["link", "set", "eth0", "up"],
                ["link", "set", "lo", "up"],
            ):
                ip("-n", name, *words)
        yield


def end_all_inside(host: str) -> None:
    """End what is left of a host: one process of a killed raylet would keep its address."""
    asked = ["ip", "netns", "pids", host]
    for pid in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def inside(host: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", host, *command]


def without(folder: Path | str, *command: str) -> list[str]:
    """Return a command that sees an empty disk over a folder, which nothing can be written to."""
    mount = f'mount -t tmpfs -o ro tmpfs {folder} && exec "$@"'
    return ["unshare", "-m", "sh", "-c", mount, "sh", *command]


@contextmanager
def node(
    host: str, environment: dict[str, str], *arguments: str, over: str = ""
) -> Iterator[None]:
    """Run Ray's node of a host, with an empty disk over a folder where one is named."""
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments]
    ray += [f"--node-ip-address={HOSTS[host]}", "--num-cpus=1", "--object-store-memory=200000000"]
    ray = without(over, *ray) if over else ray
    with subprocess.Popen(
        inside(host, *ray), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(TO_END_S)
            except subprocess.TimeoutExpired:
                end_all_inside(host)


def search(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the study from the head, once both nodes are there."""
    head, address = next(iter(HOSTS)), f"{HOSTS['sphost1']}:{PORT}"
    wait_for_nodes(head, address, environment)
    return subprocess.run(
        inside(head, sys.executable, "-m", "tests.faults.node_study", str(folder), address,
               str(NUM_TRIALS)),
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def wait_for_nodes(
    host: str, address: str, environment: dict[str, str], *, number: int = 2
) -> None:
    look = (
        "import sys, ray; ray.init(address=sys.argv[1], logging_level='ERROR'); "
        f"sys.exit(sum(node['Alive'] for node in ray.nodes()) != {number})"
    )
    until = time.monotonic() + TO_START_S
    while time.monotonic() < until:
        asked = inside(host, sys.executable, "-c", look, address)
        done = subprocess.run(asked, env=environment, capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(2.0)
    raise AssertionError(f"{number} nodes were not there after {TO_START_S:g} s")


def environment_with_token(folder: Path) -> dict[str, str]:
    """Return the environment of a cluster whose token and temporary files are in a folder."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return kept | {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip


def head_words(folder: Path) -> tuple[str, ...]:
    """Return the words of ``ray start`` for a head."""
    return ("--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={folder}/ray")


def run(folder: Path) -> dict[str, Any]:
    """Return what the study left, where its processes stood, and how the second was refused."""
    environment = environment_with_token(folder)
    for name in ("one", "two"):
        (folder / name / "where").mkdir(parents=True)
        (folder / name / "pace").write_text("0.3")
    head = head_words(folder)
    second = (f"--address={HOSTS['sphost1']}:{PORT}",)
    with two_hosts(), node("sphost1", environment, *head):
        with node("sphost2", environment, *second):
            done = search(folder / "one", environment)
        time.sleep(20.0)
        with node("sphost2", environment, *second, over=str(folder / "two")):
            refused = search(folder / "two", environment)
    where = {path.read_text() for path in (folder / "one/where").iterdir()}
    lines = lines_of(folder / "one/study") if done.returncode == 0 else []
    return {
        "code": done.returncode,
        "error": done.stderr[-1500:],
        "states": [line["state"] for line in lines],
        "workers": {line["config"]["training"]["workers"] for line in lines},
        "nodes": len(where),
        "refusal": refused.stderr.strip().splitlines()[-1] if refused.stderr.strip() else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sph-"))
    try:
        found = run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    num_complete = found["states"].count("complete")
    is_named = f"The node {HOSTS['sphost2']} " in found["refusal"]
    for case, ours, peer, met in (
        ("trials complete, of", num_complete, NUM_TRIALS, num_complete == NUM_TRIALS),
        ("hosts that ran trials, of", found["nodes"], 2, found["nodes"] == 2),
        (f"refused without shared storage: {found['refusal']}", int(is_named), 1, is_named),
    ):
        row = told("hosts", case, ours=ours, peer=peer, ratio=None, goal="all", met=met)
        tell(row, f"{case}: {ours} of {peer}", as_json=arguments.json)
    if found["code"]:
        print(found["error"], file=sys.stderr)


if __name__ == "__main__":
    main()
