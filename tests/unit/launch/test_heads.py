"""A head that does not answer for long is told of once; one that comes back is not."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from spectrum.launch.heads import RECONNECT, patience_s, watch

LOOK_S = 0.01


class Watch:
    """A watch of an address, and the seconds that it told."""

    def __init__(self, address: str) -> None:
        self.told: list[float] = []
        self.is_over = threading.Event()
        arguments = (address, self.is_over, self.told.append)
        self.thread = threading.Thread(target=watch, args=arguments, kwargs={"look_s": LOOK_S})
        self.thread.start()

    def end(self) -> None:
        self.is_over.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


def head(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECONNECT, "1.5")


def test_a_head_that_is_gone_is_told_of_once() -> None:
    server = head()
    watched = Watch(address_of(server))
    time.sleep(10 * LOOK_S)
    assert watched.told == []
    server.close()
    watched.thread.join(20)
    assert [seconds >= 1.0 for seconds in watched.told] == [True]
    watched.end()


def test_a_head_that_comes_back_is_not_told_of() -> None:
    server = head()
    address = address_of(server)
    watched = Watch(address)
    for _ in range(3):
        server.close()
        time.sleep(0.4)
        server = head(int(address.rpartition(":")[2]))
        time.sleep(10 * LOOK_S)
    watched.end()
    assert watched.told == []
    server.close()


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, 40.0), ("300", 200.0), ("30", 20.0), ("soon", 40.0)]
)
def test_a_head_is_waited_for_less_long_than_ray_waits(
    said: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RECONNECT)
    if said is not None:
        monkeypatch.setenv(RECONNECT, said)
    assert patience_s() == pytest.approx(seconds)
