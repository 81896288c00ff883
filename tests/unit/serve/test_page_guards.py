"""The page's doors: whose requests are taken, how large, and what is left behind: nothing."""

from __future__ import annotations

import http.client
import json
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from spectrum.serve.app import build_app

MAX_BYTES = 5000
SIDECAR = b'{"RepetitionTime": 2.0}'


@dataclass
class NamingAnswerer:
    """Notes what lies on disk when it is asked."""

    seen: list[dict[str, bytes]] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        return {
            "source": "trial <b>7</b>",
            "target": "early_late",
            "description": "",
            "told": "It scored.",
            "seal": "Sealed and not opened: 2 subjects.",
            "is_above_floor": False,
        }

    def answer(self, work: Path) -> dict[str, Any]:
        files = (path for path in work.rglob("*") if path.is_file())
        self.seen.append({str(path.relative_to(work)): path.read_bytes() for path in files})
        return {"problems": [], "error": None, "work": str(work)}


@dataclass(frozen=True)
class Page:
    port: int
    answerer: NamingAnswerer

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        told = answer.status, answer.read(), answer.headers
        connection.close()
        return told

    @property
    def token(self) -> str:
        (token,) = re.findall(rb'TOKEN = "([^"]+)"', self.ask("GET", "/")[1])
        return token.decode()

    def upload(
        self, image: bytes, sidecar: bytes = SIDECAR, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        body = len(sidecar).to_bytes(4, "little") + sidecar + image
        headers = {"X_Spectrum_Token": self.token, **headers}
        status, told, _ = self.ask("POST", "/predict", body, **headers)
        return status, json.loads(told)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answerer = NamingAnswerer()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        app = build_app(answerer, port=port, max_image_bytes=MAX_BYTES)  # type: ignore[arg-type]
        config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Page(port, answerer)
        server.should_exit = True
        thread.join()


def test_an_upload_lies_under_our_names_and_is_gone_afterwards(page: Page, tmp_path: Path) -> None:
    status, told = page.upload(b"\x1f\x8bimage")
    assert (status, told["error"]) == (200, None)
    (files,) = page.answerer.seen
    stem = "upload/sub-01/func/sub-01_task-upload_bold"
    assert files[f"{stem}.nii.gz"] == b"\x1f\x8bimage"
    assert files[f"{stem}.json"] == SIDECAR
    assert set(files) == {f"{stem}.nii.gz", f"{stem}.json", "upload/dataset_description.json"}
    assert list(tmp_path.iterdir()) == []


def test_an_image_without_sidecar_and_compression_is_taken(page: Page) -> None:
    assert page.upload(b"raw", b"")[0] == 200
    assert page.answerer.seen[0]["upload/sub-01/func/sub-01_task-upload_bold.nii"] == b"raw"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"X_Spectrum_Token": "guessed"}, 403),
        ({"X_Spectrum_Token": ""}, 403),
        ({"Content_Length": "99999999"}, 413),
        ({"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_a_foreign_or_unmeasured_upload_is_refused_unread(
    page: Page, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    answered, told = page.upload(b"image", **headers)
    assert (answered, page.answerer.seen) == (status, [])
    assert told["error"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1"])
def test_the_page_is_not_shown_under_another_name(page: Page, host: str) -> None:
    status, body, _ = page.ask("GET", "/", Host=host)
    assert status == 421
    assert b"TOKEN" not in body


def test_our_own_origins_are_taken(page: Page) -> None:
    for name in ("127.0.0.1", "localhost"):
        assert page.upload(b"image", Origin=f"http://{name}:{page.port}")[0] == 200


@pytest.mark.parametrize("sidecar", [b"[1]", b"{", b"[" * 100_000, b"\xff\xfe"])
def test_a_sidecar_that_is_no_object_is_refused(page: Page, sidecar: bytes) -> None:
    status, told = page.upload(b"image", sidecar)
    assert status == 422
    assert "no JSON object" in told["error"]
    assert page.answerer.seen == []


def test_a_sidecar_longer_than_the_body_is_refused(page: Page, tmp_path: Path) -> None:
    body = (2**31).to_bytes(4, "little") + b"short"
    status, told, _ = page.ask("POST", "/predict", body, X_Spectrum_Token=page.token)
    assert status == 422
    assert b"cut off" in told
    assert list(tmp_path.iterdir()) == []


def test_the_page_escapes_loads_nothing_and_cannot_be_framed(page: Page) -> None:
    _, body, headers = page.ask("GET", "/")
    assert b"&lt;b&gt;7" in body
    assert b"has not been shown to read brain signal" in body
    assert not re.findall(rb"(?:src|href)=\"?https?:", body)
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "Access-Control-Allow-Origin" not in headers


def test_the_page_says_who_was_sealed_beside_the_score(page: Page) -> None:
    body = page.ask("GET", "/")[1].decode()
    assert re.search(r'It scored\.</p>\s*<p id="seal">Sealed and not opened: 2 subjects\.', body)


def test_an_unknown_address_is_not_there(page: Page) -> None:
    assert page.ask("GET", "/../etc/passwd")[0] == 404
    assert page.ask("GET", "/predict")[0] == 405
