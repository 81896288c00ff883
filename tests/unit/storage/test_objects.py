"""A store: contents by name, asked again while it is away, refused where that is no use."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum.errors import StorageError
from spectrum.storage import ObjectStore
from spectrum.storage.asking import Patience
from tests.gate import Gate, gate_before
from tests.s3_server import s3_environment
from tests.unit.storage.conftest import BUCKET


@pytest.fixture
def gate(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    with gate_before(s3_url) as gate:
        for name, value in s3_environment(gate.url).items():
            monkeypatch.setenv(name, value)
        yield gate


def test_contents_are_put_got_listed_and_removed_by_name(address: str, tmp_path: Path) -> None:
    store = ObjectStore(address)
    content = os.urandom(9 * 2**20)
    (tmp_path / "big").write_bytes(content)
    store.put("a/small", b"x")
    store.put_file("a/b/big", tmp_path / "big")

    assert store.names() == ["a/b/big", "a/small"]
    assert store.names("a/b") == ["a/b/big"]
    store.put(".making/small", b"x")
    assert store.folders() == ["a"]
    store.remove(".making/small")
    assert store.under("a").get("small", max_bytes=10) == b"x"
    assert store.get_file("a/b/big", tmp_path / "back", max_bytes=len(content)) is not None
    assert (tmp_path / "back").read_bytes() == content
    store.remove("a/small")
    store.remove("a/small")
    assert store.get("a/small", max_bytes=10) is None
    assert store.get_file("a/small", tmp_path / "none", max_bytes=10) is None


def test_what_is_larger_than_it_may_be_is_not_read(address: str) -> None:
    store = ObjectStore(address)
    store.put("latest.json", b"x" * 11)

    assert store.get("latest.json", max_bytes=11) == b"x" * 11
    with pytest.raises(StorageError, match="larger than 10 bytes"):
        store.get("latest.json", max_bytes=10)


def test_a_store_that_is_away_for_a_while_is_waited_for(gate: Gate) -> None:
    store = ObjectStore(f"s3://{BUCKET}/away")
    store.put("before", b"1")
    gate.close()
    back = threading.Timer(8.0, gate.open)
    back.start()
    begin = time.monotonic()
    store.put("meanwhile", b"2")
    assert time.monotonic() - begin > 7.0
    back.join()

    assert store.names() == ["before", "meanwhile"]


def test_a_store_that_stays_away_is_told_with_what_to_do(gate: Gate) -> None:
    waits: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    store = ObjectStore(
        f"s3://{BUCKET}/gone",
        patience=Patience(seconds=0.7, clock=lambda: now[0], sleep=sleep),
    )
    gate.close()

    with pytest.raises(
        StorageError, match=r"cannot be read for 0.7 s: .*See that the store answers"
    ):
        store.get("x", max_bytes=1)
    assert waits == [0.5]


def test_a_bucket_that_is_not_there_is_refused_at_once(gate: Gate) -> None:
    with pytest.raises(StorageError, match="Look at the address"):
        ObjectStore("s3://no-such-bucket/x").put("a", b"")


@pytest.mark.parametrize("address", ["s4://bucket/x", "file:///", "bucket/x", "http://host/x"])
def test_what_is_no_address_is_refused_with_examples(address: str) -> None:
    with pytest.raises(StorageError, match="Give one such as s3://bucket/folder"):
        ObjectStore(address)


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that takes connections and does not answer."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name, value in s3_environment(url).items():
            monkeypatch.setenv(name, value)
        yield url


def test_a_server_that_takes_connections_alone_is_told_of_and_soon_given_up_at_first(
    mute: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ObjectStore(f"s3://{BUCKET}/mute", patience=Patience(first_s=6.0))
    begin = time.monotonic()
    with pytest.raises(StorageError, match="It has not answered once: check the address") as end:
        store.get("x", max_bytes=1)

    assert time.monotonic() - begin < 9.0
    assert f"the endpoint (AWS_ENDPOINT_URL: {mute})" in str(end.value)
    assert [record.message.split(" (")[0] for record in caplog.records] == [
        f"s3://{BUCKET} does not answer"
    ]


def opening(gate: Gate, *, after_s: float, first_s: float) -> tuple[Patience, list[float]]:
    """Return a patience on a clock of its own, by which a gate opens, and the time on it."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > after_s:
            gate.open()

    return Patience(first_s=first_s, clock=lambda: now[0], sleep=sleep), now


def test_a_store_that_has_answered_has_the_whole_patience_and_is_told_of_once(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    patience, _ = opening(gate, after_s=30.0, first_s=10.0)
    store = ObjectStore(f"s3://{BUCKET}/told", patience=patience)
    store.put("before", b"1")
    gate.close()
    store.under("a").put("meanwhile", b"2")

    first, last = (record.message for record in caplog.records)
    assert first.startswith(f"s3://{BUCKET} does not answer (")
    assert first.endswith("It is asked again for up to 596 s.")
    assert last == f"s3://{BUCKET} answers again."


def test_a_store_that_has_answered_this_process_has_the_whole_patience_for_all_who_open_it(
    gate: Gate,
) -> None:
    patience, now = opening(gate, after_s=1.0, first_s=1.0)
    ObjectStore(f"s3://{BUCKET}/studies", patience=patience).put("before", b"1")
    gate.close()
    shards = ObjectStore(f"s3://{BUCKET}/shards", patience=patience)
    shards.put("meanwhile", b"2")

    assert now[0] > 1.0
    assert shards.names() == ["meanwhile"]


def test_a_bucket_that_is_not_there_is_none_without_folders(gate: Gate) -> None:
    assert ObjectStore(f"s3://{BUCKET}/nothing").folders() == []
    with pytest.raises(StorageError, match="s3://no-such-bucket/x: it cannot be listed"):
        ObjectStore("s3://no-such-bucket/x").folders()
