"""The proxy before the Aim UI on Kubernetes: its shipped configuration, run by nginx."""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from spectrum.tracking.ui_door import guarded

AIM = Path(__file__).parents[2] / "cluster/kuberay/aim.yaml"
USER, PASSWORD = "ada", "a long secret"
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
SEARCH = "/api/runs/search/run?q=run.hash"


class _Aim(BaseHTTPRequestHandler):
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"trials")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def aim() -> Iterator[ThreadingHTTPServer]:
    _Aim.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Aim)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, aim: ThreadingHTTPServer) -> Iterator[int]:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx and openssl are not here: apt-get install nginx-light openssl")
    folder = tmp_path_factory.mktemp("proxy")
    hashed = subprocess.run(
        [openssl, "passwd", "-apr1", "-stdin"], input=PASSWORD, capture_output=True, text=True
    ).stdout.strip()
    password = folder / "htpasswd"
    password.write_text(f"{USER}:{hashed}\n", encoding="utf-8")
    own = free_port()
    config = folder / "nginx.conf"
    config.write_text(_shipped(folder, own, aim.server_port), encoding="utf-8")
    # As root nginx would read the password as nobody, who may not enter this folder.
    own_user = "user root;" if os.geteuid() == 0 else ""
    options = ["-e", str(folder / "error"), "-g", f"daemon off; {own_user}"]
    with _running([nginx, *options, "-c", str(config)]):
        _wait_for(own)
        yield own


def _shipped(folder: Path, port: int, upstream: int) -> str:
    """Return the configuration that ships, at other ports and in another folder."""
    documents = yaml.safe_load_all(AIM.read_text(encoding="utf-8"))
    (text,) = [one["data"]["nginx.conf"] for one in documents if one["kind"] == "ConfigMap"]
    changes = {
        " /tmp/": f" {folder}/",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "127.0.0.1:43800": f"127.0.0.1:{upstream}",
        "/etc/aim/htpasswd": str(folder / "htpasswd"),
    }
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return str(text)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("nginx did not start")


def status(port: int, method: str = "GET", path: str = SEARCH, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            method,
            path,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        return connection.getresponse().status
    finally:
        connection.close()


def test_nobody_passes_without_the_password(port: int) -> None:
    wrong = "Basic " + base64.b64encode(f"{USER}:guess".encode()).decode()
    assert status(port) == 401
    assert status(port, Authorization=wrong) == 401
    assert status(port, method="POST") == 401
    assert not _Aim.seen


def test_the_password_opens_aim_and_goes_no_further(port: int) -> None:
    _Aim.seen.clear()
    assert status(port, **LOGIN) == 200
    assert status(port, **LOGIN, Origin=f"http://127.0.0.1:{port}") == 200
    assert status(port, **LOGIN, Sec_Fetch_Site="same-origin") == 200
    assert len(_Aim.seen) == 3
    assert not any("Authorization" in headers for headers in _Aim.seen)
    _Aim.seen.clear()


def test_what_a_page_behind_the_proxy_asks_passes_the_guard_of_the_ui(
    port: int, aim: ThreadingHTTPServer
) -> None:
    _Aim.seen.clear()
    page = {"Origin": f"http://127.0.0.1:{port}", "Sec_Fetch_Site": "same-origin"}
    for method in ("GET", "POST"):
        assert status(port, method=method, **LOGIN, **page) == 200
    for headers in _Aim.seen:
        assert passes_guard(headers, aim.server_port)
    assert len(_Aim.seen) == 2
    _Aim.seen.clear()


def passes_guard(headers: dict[str, str], port: int) -> bool:
    """Return whether ``spectrum ui`` at a port answers what came with such headers."""
    passed = list[str]()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    async def send(message: Any) -> None:
        """Send nothing."""

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "headers": raw, "server": ("127.0.0.1", port)}
    asyncio.run(guarded(answer)(scope, None, send))
    return bool(passed)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_cannot_use_the_password(
    port: int, headers: dict[str, str]
) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert status(port, method=method, **LOGIN, **headers) == 403
    assert not _Aim.seen
