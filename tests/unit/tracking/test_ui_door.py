"""Whose requests reach Aim's UI, which answers everyone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from spectrum.tracking.ui_door import guarded

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
