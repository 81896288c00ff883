"""A gate on loopback before a server: closed, it refuses connections and cuts those there are."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Gate:
    """Passes connections on to ``upstream``, a URL, while it is open."""

    def __init__(self, upstream: str) -> None:
        told = urlsplit(upstream)
        self._upstream = (told.hostname or "127.0.0.1", int(told.port or 80))
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self.num_passed = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Refuse connections, and cut those that are open."""
        with self._lock:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            for one in self._live:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._live.clear()

    def open(self) -> None:
        """Take connections again, at the same port."""
        with self._lock:
            self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        return listener

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                taken, _ = listener.accept()
                passed = socket.create_connection(self._upstream)
            except OSError:
                return
            with self._lock:
                self._live |= {taken, passed}
                self.num_passed += 1
            for pair in ((taken, passed), (passed, taken)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(2**16):
                target.sendall(block)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._live -= {source, target}


@contextmanager
def gate_before(upstream: str) -> Iterator[Gate]:
    """Run a gate that is open."""
    gate = Gate(upstream)
    try:
        yield gate
    finally:
        with contextlib.suppress(OSError):
            gate.close()
