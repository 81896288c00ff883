"""Answers that are not what they should be: a sentence each, and the other files arrive."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spectrum.config import config_from_mapping
from spectrum.data.download import DownloadRequest, World, plan_download
from spectrum.data.download.service import DownloadResult
from spectrum.errors import ConfigError, DownloadError
from tests.faulty_proxy import Fault, Proxy
from tests.unit.data.download.conftest import QUICK

Fetch = Callable[..., DownloadResult]
Files = Mapping[str, bytes]

IMAGE = "sub-01/func/sub-01_task-learn_run-1_bold.nii.gz"
KEY = f"ds000900/{IMAGE}"


@contextmanager
def _always_answering(answer: bytes) -> Iterator[str]:
    """Answer every connection with the same bytes."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def _http(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _listing(size: str) -> bytes:
    return _http(
        b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<IsTruncated>false</IsTruncated><Contents><Key>ds000900/README</Key>"
        + size.encode()
        + b"</Contents></ListBucketResult>",
        "application/xml",
    )


def _snapshot(**line: Any) -> bytes:
    lines = [{"filename": "README", "size": 1, "id": "x", "urls": [], **line}]
    value = {"data": {"dataset": {"latestSnapshot": {"id": "a:1", "files": lines}}}}
    return _http(json.dumps(value).encode(), "application/json")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"220 mail.example ESMTP\r\n", id="no-http"),
        pytest.param(b"", id="nothing"),
        pytest.param(_http(b"[" * 200_000, "application/json"), id="deeply-nested"),
        pytest.param(_http(b"[]", "application/json"), id="a-list"),
        pytest.param(_http(b"\xff\xfe\x00", "text/plain"), id="no-text"),
        pytest.param(_snapshot(size=float("inf")), id="endless-size"),
        pytest.param(_snapshot(urls=["http://[::1"]), id="broken-address"),
    ],
)
def test_a_snapshot_listing_of_any_form_is_an_extra_that_ends_no_download(
    fetch: Fetch, dataset: Files, answer: bytes
) -> None:
    with _always_answering(answer) as url:
        result = fetch(snapshots_url=url)
    assert result.refused == ()
    assert len(result.records) == len([path for path in dataset if "/anat/" not in path])
    assert ["snapshot listing" in note for note in result.notes] == [True]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_listing(""), id="no-size"),
        pytest.param(_listing("<Size>many</Size>"), id="size-in-words"),
    ],
)
def test_a_listing_that_is_not_one_of_s3_is_told_as_a_bad_answer(
    answer: bytes, tmp_path: Path
) -> None:
    with _always_answering(answer) as url:
        request = DownloadRequest(
            datasets=("ds000900",), out=tmp_path, endpoint_url=url, fetch=QUICK
        )
        with pytest.raises(DownloadError, match="is not S3's") as caught:
            plan_download(request, world=World())
    assert caught.value.code == "bad-answer"


@pytest.mark.parametrize("length", [None, "abc"])
def test_an_object_without_a_length_is_a_bad_answer_and_the_others_arrive(
    fetch: Fetch, dataset: Files, proxy: Proxy, length: str | None
) -> None:
    fault = Fault(headers=(("content-length", length),))
    proxy.spoil = lambda a: fault if (a.key, a.method) == (KEY, "HEAD") else None
    result = fetch()
    assert [(p.code, p.path) for p in result.refused] == [("bad-answer", IMAGE)]
    assert len(result.records) == len([path for path in dataset if "/anat/" not in path]) - 1


@pytest.mark.parametrize("url", ["http://[::1", "http://[nowhere]", "http://host:port"])
@pytest.mark.parametrize("name", ["endpoint_url", "snapshots_url"])
def test_an_address_that_cannot_be_read_is_refused_with_a_sentence(name: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be"):
        config_from_mapping(DownloadRequest, {"datasets": ("ds000900",), name: url})


def test_a_host_that_no_request_can_be_sent_to_is_refused_with_a_sentence(tmp_path: Path) -> None:
    request = DownloadRequest(
        datasets=("ds000900",), out=tmp_path, endpoint_url=f"http://{'a' * 300}"
    )
    with pytest.raises(ConfigError, match="names no host"):
        plan_download(request, world=World())


def test_a_file_that_may_not_be_read_is_named_and_the_others_go_on(
    fetch: Fetch, dataset: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch()
    root, open_path = tmp_path / "raw/ds000900", Path.open
    (root / "README").unlink()

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == root / IMAGE:
            raise PermissionError(13, "Permission denied")
        return open_path(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    result = fetch()
    assert [(p.code, p.path) for p in result.refused] == [("unreadable", IMAGE)]
    assert "permission denied" in result.refused[0].message
    assert (root / "README").read_bytes() == dataset["README"]
