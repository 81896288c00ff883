"""The door of Aim's UI: what comes by another name, or from another site's page, is refused.

Aim answers every site, and its search box runs code: a page that a browser shows beside it could
ask there for whatever it wants. Not here: who is let in by a proxy, which asks under our name.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

__all__ = ["guarded", "guarded_app", "is_guarded", "run_aim"]

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

FACTORY: Final = "spectrum.tracking.ui_door:guarded_app"
REFUSED: Final = (
    b"This page answers on this machine and to itself alone. Type the address that spectrum ui "
    b"printed; through an SSH tunnel take the same port on both sides."
)

ANSWER_S: Final = 30.0
"""Seconds for an answer to a question under another name; a busy machine may need some."""


def guarded(app: App) -> App:
    """Return an application that answers requests under its own name, and of its own pages."""

    async def answer(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or _is_own(scope):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": REFUSED})
        else:
            await send({"type": "websocket.close", "code": 1008})

    return answer


def _is_own(scope: Scope) -> bool:
    told = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host, port = scope["server"]
    hosts = {f"{name}:{port}" for name in (host, "localhost")}
    origin = told.get(b"origin")
    return (
        told.get(b"host", "") in hosts
        and (origin is None or origin.removeprefix("http://") in hosts)
        and told.get(b"sec-fetch-site", "none") in ("none", "same-origin")
    )


def guarded_app() -> App:
    """Return Aim's application behind the guard; uvicorn calls it in the process that answers."""
    from aim.web.run import app

    return guarded(app)


def is_guarded(url: str) -> bool:
    """Return whether a running UI refuses a question under another name.

    Another version of Aim may start its server in a way that passes the guard by.
    """
    question = urllib.request.Request(url, headers={"Host": "elsewhere.invalid"})
    try:
        with urllib.request.urlopen(question, timeout=ANSWER_S):
            return False
    except urllib.error.HTTPError as err:
        return err.code == 403
    except OSError:
        return False


def run_aim() -> None:
    """Run Aim's command line with its UI behind the guard."""
    from aim.cli.cli import cli_entry_point
    from aim.cli.up import commands

    build = commands.build_uvicorn_command

    def build_guarded(app: str, **options: Any) -> list[str]:
        return [*build(FACTORY, **options), "--factory"]

    commands.build_uvicorn_command = build_guarded
    sys.exit(cli_entry_point())
