"""The page's HTTP: two addresses on loopback, guarded against other sites and other names.

A page of another site may reach a server on loopback, by a request of its own or by a name that it
lets point here (DNS rebinding). So the Host header must be ours, an Origin must be ours, and an
upload must carry a token that only our page has. Not here: what is answered (``answers``).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from spectrum.errors import ConfigError, DataError, SpectrumError
from spectrum.serve.answers import Answerer
from spectrum.serve.uploads import FRAME_BYTES, MAX_SIDECAR_BYTES, received, too_large

__all__ = ["HOST", "build_app", "run_page"]

HOST: Final = "127.0.0.1"
TOKEN_HEADER: Final = "X-Spectrum-Token"
FOLDER: Final = Path(__file__).parent
STOP_S: Final = 3


class _Page:
    """The two addresses of one server."""

    def __init__(self, answerer: Answerer, *, port: int, max_image_bytes: int) -> None:
        self._answerer = answerer
        self._max_bytes = max_image_bytes + MAX_SIDECAR_BYTES + FRAME_BYTES
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self._token = secrets.token_urlsafe(32)
        self._busy = asyncio.Lock()
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        self._template = environment.get_template("page.html")
        self._max_image_bytes = max_image_bytes

    async def page(self, request: Request) -> Response:
        """Show the page."""
        if (refusal := self._foreign(request)) is not None:
            return refusal
        nonce = secrets.token_urlsafe(16)
        text = self._template.render(
            about=self._answerer.about(),
            token=self._token,
            nonce=nonce,
            max_bytes=self._max_image_bytes,
            max_sidecar_bytes=MAX_SIDECAR_BYTES,
        )
        return _guarded(HTMLResponse(text), nonce)

    async def predict(self, request: Request) -> Response:
        """Take an upload and answer it, one at a time."""
        if (refusal := self._foreign(request) or self._unasked(request)) is not None:
            return refusal
        if self._busy.locked():
            return _error(503, "Another image is being read. Wait for it, then try again.")
        async with self._busy:
            try:
                async with received(request.stream(), max_bytes=self._max_bytes) as work:
                    told = await run_in_threadpool(self._answerer.answer, work)
            except DataError as err:
                return _error(413 if err.code == "too-large" else 422, str(err))
            except SpectrumError as err:
                return _error(500, str(err))
            except ClientDisconnect:
                return _error(499, "The upload was broken off.")
        return _guarded(JSONResponse(told))

    def _foreign(self, request: Request) -> Response | None:
        """Refuse what comes by another name, or from another site's page."""
        if request.headers.get("host", "") not in self._hosts:
            return _error(421, "This page answers on 127.0.0.1 and localhost alone.")
        origin = request.headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            return _error(403, "Requests of other sites are refused.")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _error(403, "Requests of other sites are refused.")
        return None

    def _unasked(self, request: Request) -> Response | None:
        """Refuse an upload without our page's token, or of a size that is unknown or too large."""
        sent = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(sent.encode(), self._token.encode()):
            return _error(403, "The page is of an earlier start of the server. Load it again.")
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return _error(411, "An upload must say its length.")
        if int(length) > self._max_bytes:
            return _error(413, str(too_large(self._max_bytes)))
        return None


def _error(status: int, sentence: str) -> Response:
    return _guarded(JSONResponse({"error": sentence, "problems": []}, status_code=status))


def _guarded(response: Response, nonce: str | None = None) -> Response:
    own = f"'nonce-{nonce}'" if nonce else "'none'"
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {own}; style-src {own}; img-src data:; "
        "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def build_app(answerer: Answerer, *, port: int, max_image_bytes: int) -> Starlette:
    """Return the application of a server on a port of 127.0.0.1.

    Parameters
    ----------
    answerer : says what the model makes of an image
    port : by which browsers name this server
    max_image_bytes : of an image file
    """
    page = _Page(answerer, port=port, max_image_bytes=max_image_bytes)
    routes = [
        Route("/", page.page, methods=["GET"]),
        Route("/predict", page.predict, methods=["POST"]),
    ]
    return Starlette(routes=routes)


def run_page(
    answerer: Answerer, *, port: int, max_image_bytes: int, show: Callable[[str], Any]
) -> None:
    """Serve the page until it is interrupted.

    Parameters
    ----------
    answerer : says what the model makes of an image
    port : TCP port on 127.0.0.1; 0 takes a free one
    max_image_bytes : of an image file
    show : takes the page's address

    Raises
    ------
    ConfigError
        Where another program has the port.
    """
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError:
            raise ConfigError(
                f"Port {port} of {HOST} is taken or not allowed. Give another one with --port."
            ) from None
        port = int(listening.getsockname()[1])
        config = uvicorn.Config(
            build_app(answerer, port=port, max_image_bytes=max_image_bytes),
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=STOP_S,
        )
        show(f"http://{HOST}:{port}")
        uvicorn.Server(config).run(sockets=[listening])
