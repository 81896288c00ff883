"""Whose requests reach Aim's UI, which answers everyone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from spectrum.tracking.ui_door import guarded, is_guarded

OWN = {"host": "127.0.0.1:43800"}


def status(headers: dict[str, str], kind: str = "http") -> Any:
    """Ask as uvicorn would; return what came back, ``through`` where Aim was asked."""
    sent: list[Any] = []

    async def aim(scope: Any, receive: Any, send: Any) -> None:
        sent.append("through")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("status", message.get("code")))

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "headers": raw, "server": ("127.0.0.1", 43800)}
    asyncio.run(guarded(aim)(scope, None, send))
    return sent[0]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:43800"},
        {"host": "localhost:43800", "origin": "http://localhost:43800"},
    ],
)
def test_the_user_and_the_page_itself_are_answered(more: dict[str, str]) -> None:
    assert status(OWN | more) == "through"


@pytest.mark.parametrize(
    "more",
    [
        {"host": "rebound.example:43800"},
        {"host": "127.0.0.1:1"},
        {"host": ""},
        {"origin": "http://elsewhere.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:43800"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_and_another_name_are_refused(more: dict[str, str]) -> None:
    assert status(OWN | more) == 403
    assert status(OWN | more, "websocket") == 1008


def test_the_start_of_the_server_goes_through() -> None:
    assert status({}, "lifespan") == "through"


@contextmanager
def server(status_elsewhere: int) -> Iterator[str]:
    """A UI that answers a question under another name so."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_own = str(self.headers["Host"]).startswith("127.0.0.1")
            self.send_response(200 if is_own else status_elsewhere)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status_elsewhere", "is_safe"), [(403, True), (200, False), (500, False)]
)
def test_a_ui_that_passed_the_guard_by_is_noticed(status_elsewhere: int, is_safe: bool) -> None:
    with server(status_elsewhere) as url:
        assert is_guarded(url) is is_safe


def test_a_ui_that_does_not_answer_is_not_taken_for_guarded() -> None:
    with server(403) as url:
        pass
    assert not is_guarded(url)
