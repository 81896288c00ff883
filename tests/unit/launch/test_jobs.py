"""The door of jobs: who is let in, and what is said of a job that nobody sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spectrum.errors import LaunchError
from spectrum.launch.jobs import JobDoor

SENT = ("raysubmit_4LamXRuQpYdSMg7J", "raysubmit_Ttt9dP3xGpq2W8bZ")


class Dashboard(BaseHTTPRequestHandler):
    """Answers everyone, as Ray's dashboard does without tokens; knows two jobs by name alone."""

    def do_GET(self) -> None:
        if self.path == "/api/version":
            self._answer(200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "x"})
        elif self.path == "/api/jobs/":
            self._answer(200, [told_by_ray(name) for name in SENT])
        else:
            self._answer(404, "Job does not exist")

    do_POST = do_GET

    def _answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def told_by_ray(name: str) -> dict[str, object]:
    return {"type": "SUBMISSION", "submission_id": name, "status": "RUNNING", "entrypoint": "x"}


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


@pytest.mark.parametrize("ask", [JobDoor.job, JobDoor.log, JobDoor.stop])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raysubmit_4LamXRuQpYdSMg7I", f"Is it {SENT[0]}[?] spectrum jobs list"),
        ("Ttt9", f"Is it {SENT[1]}[?]"),
        ("raysubmit", f"Is it {SENT[0]} or {SENT[1]}[?]"),
        ("raysubmit_aaaaaaaaaaaaaaaa", "spectrum jobs list tells those that were sent"),
    ],
)
def test_a_job_that_nobody_sent_is_told_with_those_that_may_be_meant(
    address: str, tmp_path: Path, ask: Callable[[JobDoor, str], object], name: str, told: str
) -> None:
    door = JobDoor(address, insecure=True, state_folder=tmp_path)
    with pytest.raises(LaunchError, match=rf"knows no job {name}\. {told}"):
        ask(door, name)
