"""Who is let in at the ports that Spectrum opens?

    python -m tests.benchmarks.open_ports --json

A Ray of ``spectrum`` on this machine with its dashboard, the nodes of ``cluster up``, the page of
``serve`` and the UI of ``ui``, and their ports, by process. Each is tried from the machine's other
addresses; then on loopback without a token, with a wrong one, and as a page of another site or
under another name (DNS rebinding), with the right one where there is one. Ours is what was
refused, peer what was tried, beside it what was let in.
"""

from __future__ import annotations

import argparse
import http.client
import re
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from spectrum.launch import bring_up, local_ray, take_down
from spectrum.launch.guards import known_token, state_folder
from spectrum.tracking import open_ui, show_study

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.no_op_trials import told
from tests.benchmarks.telling import tell
from tests.unit.report.planted_study import planted_trials, write_study

WAIT_S = 3.0
SEARCH = "/api/runs/search/run/?q=run.hash"
Tries = Callable[[int], Iterator[tuple[str, str, bool]]]
LOOPBACK = ("127.", "::1", "::ffff:127.")
PATHS = (
    ("GET", "/"),
    ("GET", "/api/version"),
    ("GET", "/api/jobs/"),
    ("POST", "/api/jobs/"),
    ("DELETE", "/api/jobs/x"),
    ("GET", "/api/v0/tasks"),
    ("GET", "/logs/"),
    ("GET", "/metrics"),
    ("POST", "/api/packages/gcs/x.zip"),
)
FOREIGN = {
    "Origin": "http://elsewhere.example",
    "Referer": "http://elsewhere.example/",
    "User-Agent": "Mozilla/5.0",
    "Sec-Fetch-Site": "cross-site",
}


def listening(of: psutil.Process) -> dict[int, tuple[str, str]]:
    """Return address and process of each port that a process and those below it listen on."""
    found = {}
    for process in (of, *of.children(recursive=True)):
        try:
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    name = process.name() if process.name() != "python" else role(process)
                    found[connection.laddr.port] = (connection.laddr.ip, name)
        except psutil.Error:
            continue
    return found


def role(process: psutil.Process) -> str:
    words = process.cmdline()
    return next((Path(w).stem for w in words if w.endswith(".py")), "the search itself")


def other_addresses() -> list[str]:
    """Return the addresses of this machine beside loopback."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]


def is_reachable(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=WAIT_S):
            return True
    except OSError:
        return False


def http_answer(port: int, method: str, path: str, headers: dict[str, str]) -> str:
    """Return the status of an answer, or why there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    body = '{"entrypoint": "true"}' if method == "POST" else None
    try:
        connection.request(method, path, body=body, headers=headers)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as err:
        return type(err).__name__
    finally:
        connection.close()


def grpc_answer(port: int, token: str | None) -> str:
    metadata = None if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            stub.GetAllNodeInfo(
                gcs_service_pb2.GetAllNodeInfoRequest(), timeout=WAIT_S, metadata=metadata
            )
        except grpc.RpcError as err:
            return str(err.code().name)
    return "OK"


def tried(port: int, token: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what was tried at a port, what it answered, and whether that let us in."""
    headers = {"no token": {}, "a wrong token": {"Authorization": f"Bearer {'0' * len(token)}"}}
    headers["another site, with the token"] = {"Authorization": f"Bearer {token}", **FOREIGN}
    headers["another name, no token"] = {"Host": "rebound.example"}
    for who, sent in headers.items():
        for method, path in PATHS:
            if who.startswith("another site") and method == "GET":
                # A page may send it, and may not read what comes back.
                continue
            status = http_answer(port, method, path, sent)
            yield f"{who}: {method} {path}", status, status.startswith("2")
    for who, sent_token in (("no token", None), ("a wrong token", "0" * len(token))):
        status = grpc_answer(port, sent_token)
        yield f"{who}: gRPC GetAllNodeInfo", status, status == "OK"


def page_tries(port: int, token: str, path: str) -> Iterator[tuple[str, str, bool]]:
    """As ``tried``, of a page that shows itself to this machine alone."""
    own, sent = {"Host": f"127.0.0.1:{port}"}, {"X-Spectrum-Token": token}
    wrong = {
        "another name": sent | {"Host": f"rebound.example:{port}"},
        "another site": own | sent | FOREIGN,
        "another site's Origin": own | sent | {"Origin": FOREIGN["Origin"]},
        "a sandboxed page": own | sent | {"Origin": "null"},
    }
    for who, headers in wrong.items():
        for method, asked in (("GET", "/"), ("GET", path), ("POST", path)):
            status = http_answer(port, method, asked, headers)
            yield f"{who}: {method} {asked}", status, status.startswith("2")
    if token:
        for who, headers in (
            ("no token", own),
            ("a wrong token", own | {"X-Spectrum-Token": "0"}),
        ):
            status = http_answer(port, "POST", path, headers)
            yield f"{who}: POST {path}", status, status.startswith("2")


def judged(what: str, of: psutil.Process, tries: Tries) -> Iterator[dict[str, Any]]:
    """Yield a row for the other addresses of this machine, and one for each port."""
    ports, others = listening(of), other_addresses()
    beyond = [(h, p) for h in others for p in ports if is_reachable(h, p)]
    bound = sorted({host for host, _ in ports.values() if not host.startswith(LOOPBACK)})
    tried_from = f"{what}: {len(ports)} ports from other addresses"
    yield row(tried_from, len(others) * len(ports), len(beyond), str(bound or ""))
    for port, (host, name) in sorted(ports.items(), key=lambda item: item[1][1]):
        answers = list(tries(port))
        let_in = [f"{asked} -> {status}" for asked, status, is_in in answers if is_in]
        yield row(f"{what}: {name} on {host}", len(answers), len(let_in), "; ".join(let_in))


def rows() -> Iterator[dict[str, Any]]:
    with local_ray(num_cpus=1, object_store_gib=0.2, dashboard=True):
        token = known_token(state_folder())
        yield from judged("Ray", psutil.Process(), lambda port: tried(port, token))
    with tempfile.TemporaryDirectory() as name:
        yield from cluster_rows(Path(name))
        yield from serve_rows()
        yield from ui_rows(Path(name))


def cluster_rows(folder: Path) -> Iterator[dict[str, Any]]:
    cluster = bring_up(num_nodes=2, cpus_per_node=1, object_store_gib=0.2, state_folder=folder)
    try:
        token = Path(cluster.token).read_text().strip()
        yield from judged(
            "cluster up", psutil.Process(cluster.pid), lambda port: tried(port, token)
        )
    finally:
        take_down(folder)


def serve_rows() -> Iterator[dict[str, Any]]:
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.page_alone"], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    try:
        port = int(program.stdout.readline())
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}").read().decode()
        token = re.findall('TOKEN = "([^"]+)"', page)[0]
        yield from judged(
            "serve", psutil.Process(program.pid), lambda p: page_tries(p, token, "/predict")
        )
    finally:
        program.terminate()
        program.wait()


def ui_rows(folder: Path) -> Iterator[dict[str, Any]]:
    study = write_study(folder / "studies/planted", trials=planted_trials()[:1])
    show_study(study)
    with open_ui(folder / "studies", port=0, block=False, show=str):
        yield from judged("ui", psutil.Process(), lambda p: page_tries(p, "", SEARCH))


def row(case: str, num_tried: int, num_in: int, detail: str) -> dict[str, Any]:
    return told(
        "open_ports",
        f"{case}: refused of tried{', let in: ' if num_in else ''}{detail if num_in else ''}",
        ours=num_tried - num_in,
        peer=num_tried,
        ratio=None,
        goal="all",
        met=num_in == 0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    for found in rows():
        text = f"{found['case']}: {found['ours']} of {found['peer']}"
        tell(found, text, as_json=arguments.json)


if __name__ == "__main__":
    main()
