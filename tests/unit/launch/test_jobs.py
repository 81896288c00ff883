"""The door of jobs of a cluster that demands no token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spectrum.errors import LaunchError
from spectrum.launch.jobs import JobDoor


class Dashboard(BaseHTTPRequestHandler):
    """Answers everyone, as Ray's dashboard does without tokens."""

    def do_GET(self) -> None:
        body = json.dumps({"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dashboard)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_door_that_demands_no_token_is_used_with_a_warning_where_the_user_says_so(
    address: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    JobDoor(address, insecure=True, state_folder=tmp_path)
    assert f"{address} demands no token: whoever reaches its ports can run code" in caplog.text


def test_a_door_that_demands_no_token_is_refused(address: str, tmp_path: Path) -> None:
    (tmp_path / "ray_token").write_text("0" * 64)
    (tmp_path / "ray_token").chmod(0o600)
    with pytest.raises(LaunchError, match=r"answers without a token.*--insecure"):
        JobDoor(address, state_folder=tmp_path)
