"""A proxy on loopback before an S3 server: counts what it sends, and spoils answers on request."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
BLOCK_BYTES = 16 * 1024


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    method: str
    key: str
    is_object: bool
    range: str
    headers: dict[str, str]
    number: int
    """Requests for this object so far, this one included."""


@dataclass(frozen=True)
class Fault:
    """How an answer is spoiled; the default spoils nothing."""

    status: int = 0
    """Answered instead."""
    location: str = ""
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""
    bytes_per_s: float = 0.0
    """Pace of the body; 0 is as fast as it goes."""
    stall_after: int | None = None
    """Bytes of the body after which nothing more comes, with the connection open."""
    added_length: int = 0
    """Added to Content-Length."""
    is_flipped: bool = False
    """One bit of the body is wrong."""
    is_range_ignored: bool = False
    is_dropped: bool = False
    """The connection is closed without any answer."""
    headers: tuple[tuple[str, str | None], ...] = ()
    """Sent instead of the server's own; None leaves one out. Names are in lower case."""
    before: Callable[[], None] | None = None
    """Called before the request is passed on."""


Spoil = Callable[[Asked], Fault | None]


@dataclass
class Proxy:
    """What a running proxy has seen, and how it spoils."""

    url: str
    spoil: Spoil = lambda asked: None
    hidden_headers: tuple[str, ...] = ()
    """Left out of every answer."""
    asked: list[Asked] = field(default_factory=list)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    """Bytes of bodies of objects, by key."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def note(self, method: str, target: str, headers: dict[str, str]) -> Asked:
        path = unquote(urlsplit(target).path)
        _, bucket, key = [*path.split("/", 2), "", ""][:3]
        with self.lock:
            number = sum(one.key == key and one.method == method for one in self.asked) + 1
            asked = Asked(
                method, key, bool(bucket and key), headers.get("Range", ""), headers, number
            )
            self.asked.append(asked)
        return asked

    def count(self, key: str, num_bytes: int) -> None:
        with self.lock:
            self.sent_bytes[key] += num_bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    upstream: str

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        return

    def _answer(self) -> None:
        asked = self.proxy.note(self.command, self.path, dict(self.headers))
        fault = (self.proxy.spoil(asked) or Fault()) if asked.is_object else Fault()
        if fault.before is not None:
            fault.before()
        if fault.is_dropped:
            self.close_connection = True
            return
        if fault.status:
            self._refuse(fault)
            return
        status, headers, body = self._ask_upstream(fault)
        self.send_response_only(status)
        sent = {name.lower(): value for name, value in headers}
        sent["content-length"] = str(
            int(sent.get("content-length", len(body))) + fault.added_length
        )
        left_out = {"transfer-encoding", "connection", *self.proxy.hidden_headers}
        for name, value in (sent | dict(fault.headers)).items():
            if value is not None and name not in left_out:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send_body(asked, fault, body)

    def _refuse(self, fault: Fault) -> None:
        body = SLOW_DOWN if fault.status == 503 else b""
        self.send_response_only(fault.status)
        if fault.location:
            self.send_header("Location", fault.location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _ask_upstream(self, fault: Fault) -> tuple[int, list[tuple[str, str]], bytes]:
        left_out = {"connection", *(("range",) if fault.is_range_ignored else ())}
        headers = {n: v for n, v in self.headers.items() if n.lower() not in left_out}
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=30)
        try:
            connection.request(self.command, self.path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _send_body(self, asked: Asked, fault: Fault, body: bytes) -> None:
        if fault.is_flipped and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        limit = min(len(body) if at is None else at for at in (fault.cut_after, fault.stall_after))
        try:
            self._send_paced(asked, fault, body[:limit])
            if fault.stall_after is not None and limit < len(body):
                self.proxy.closing.wait(60)
        except OSError:
            self.close_connection = True
        if limit < len(body) or fault.added_length:
            self.close_connection = True

    def _send_paced(self, asked: Asked, fault: Fault, body: bytes) -> None:
        block = BLOCK_BYTES
        if fault.bytes_per_s:
            block = max(1, min(BLOCK_BYTES, int(fault.bytes_per_s / 20)))
        for start in range(0, len(body), block):
            piece = body[start : start + block]
            self.wfile.write(piece)
            if asked.is_object:
                self.proxy.count(asked.key, len(piece))
            if fault.bytes_per_s:
                time.sleep(len(piece) / fault.bytes_per_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        return


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy on a free port of loopback before ``upstream``."""
    proxy = Proxy(url="")
    handler = type("Handler", (_Handler,), {"proxy": proxy, "upstream": upstream})
    server = _Server(("127.0.0.1", 0), handler)
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
