"""Chromium without a window, driven by its own protocol: open, choose files, evaluate, picture."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-sync",
    "--remote-debugging-port=0",
]
START_S = 90.0


class Tab:
    """One page; ``events`` holds what the browser said by itself."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._count = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        self._connection.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            told = json.loads(self._connection.recv(timeout=60))
            if told.get("id") == self._count:
                assert "error" not in told, told
                return told["result"]
            self.events.append(told)

    def value(self, expression: str) -> Any:
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, expression: str, *, wait_s: float = 120.0) -> None:
        end = time.monotonic() + wait_s
        while not self.value(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.2)

    def choose(self, selector: str, path: Path) -> None:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path: Path) -> None:
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def open_tab(url: str, profile: Path, *, width: int = 1100) -> Iterator[Tab]:
    """Open an address in a browser of its own, which ends with the block."""
    process = subprocess.Popen(
        [
            str(CHROMIUM),
            *FLAGS,
            f"--user-data-dir={profile}",
            f"--window-size={width},1800",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port = _port(profile / "DevToolsActivePort")
        with connect(_page_address(port), max_size=2**28) as connection:
            tab = Tab(connection)
            for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
                tab.call(f"{domain}.enable")
            tab.call("Page.navigate", url=url)
            tab.wait("document.readyState == 'complete' && location.href != 'about:blank'")
            yield tab
    finally:
        process.terminate()
        process.wait(30)


def _port(file: Path) -> int:
    end = time.monotonic() + START_S
    while not file.is_file() or not file.read_text().strip():
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.1)
    return int(file.read_text().splitlines()[0])


def _page_address(port: int) -> str:
    import urllib.request

    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            pages = [tab for tab in json.load(answer) if tab["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("Chromium has no page")
