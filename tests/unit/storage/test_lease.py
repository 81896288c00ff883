"""One writer at a time, however its holder ended."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from spectrum.errors import StorageError
from spectrum.storage import Beside, Following, Lease, Mirror, ObjectStore


class Clock:
    """A clock that sleeping moves on; something may happen at each look."""

    def __init__(self) -> None:
        self.now = 0.0
        self.at_look = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.at_look()


def _lease(store: ObjectStore, place: str, clock: Clock) -> Lease:
    return Lease(store, place=place, clock=clock, sleep=clock.sleep)


def test_a_lease_that_is_renewed_keeps_others_out_and_says_who(address: str) -> None:
    store, clock = ObjectStore(address), Clock()
    holder = _lease(store, "one", clock)
    with holder.held():
        clock.at_look = lambda: holder._renew()
        with (
            pytest.raises(StorageError, match=r"Another search works on .* one, since"),
            _lease(store, "other", clock).held(),
        ):
            pass
    clock.at_look = lambda: None
    with _lease(store, "other", clock).held():
        assert clock.now < 5.0, "a lease that was given back is not watched"
    assert store.names() == []


def test_a_lease_of_a_machine_that_is_gone_is_taken_after_a_while(address: str) -> None:
    store, clock = ObjectStore(address), Clock()
    _lease(store, "gone", clock)._write(store)

    with _lease(store, "other", clock).held():
        assert 35.0 <= clock.now <= 40.0


def test_the_same_place_takes_its_own_lease_over_at_once(address: str) -> None:
    store, clock = ObjectStore(address), Clock()
    _lease(store, "here", clock)._write(store)

    with _lease(store, "here", clock).held():
        assert clock.now < 1.0


def test_of_two_that_begin_at_the_same_moment_one_has_the_lease(address: str) -> None:
    store, clock = ObjectStore(address), Clock()
    other = _lease(store, "other", clock)
    clock.at_look = lambda: other._write(store)

    with (
        pytest.raises(StorageError, match=r"Another search works on .* other, since"),
        _lease(store, "one", clock).held(),
    ):
        pass


def test_who_waits_comes_after_the_holder(address: str) -> None:
    store, clock = ObjectStore(address), Clock()
    holder = _lease(store, "one", clock)
    order = []
    with holder.held():
        looks = iter(range(100))

        def look() -> None:
            holder._renew() if next(looks) < 3 else holder._give_back()

        clock.at_look = look
        with _lease(store, "other", clock).held(waits=True):
            order.append("other")
    assert order == ["other"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_lease_holds_nobody_up(tmp_path: Path, content: bytes) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    store.put("lease.json", content)

    with _lease(store, "here", Clock()).held():
        assert b"here" in (store.get("lease.json", max_bytes=1000) or b"")


def test_work_beside_goes_on_after_an_error_and_tells_it() -> None:
    errors = [StorageError("away"), StorageError("away"), None]
    called = threading.Semaphore(0)
    seen = []

    def call() -> None:
        seen.append(beside.trouble)
        error = errors[min(len(seen), len(errors)) - 1]
        called.release()
        if error:
            raise error

    beside = Beside(call, every_s=3600.0)
    beside.start()
    for _ in range(4):
        beside.poke()
        assert called.acquire(timeout=10.0)
    beside.stop()

    assert seen == ["", "away", "away", ""]


def test_a_folder_is_followed_and_its_last_change_is_stored(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    folder = tmp_path / "here"
    folder.mkdir()
    following = Following(Mirror(folder, store), every_s=0.01)
    following.start()
    (folder / "a").write_text("1")
    for _ in range(1000):
        if store.names():
            break
        threading.Event().wait(0.01)
    (folder / "b").write_text("2")

    assert following.close(patience_s=5.0) == ""
    assert {name.partition("~")[0] for name in store.names()} == {
        "latest.json",
        "files/a",
        "files/b",
    }


def test_what_could_not_be_stored_in_the_end_is_said(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    folder, other = tmp_path / "here", tmp_path / "other"
    for path in (folder, other):
        path.mkdir()
        (path / "a").write_text(path.name)
    following = Following(Mirror(folder, store))
    following.start()
    Mirror(other, store).push()

    assert "another one works on it" in following.close(patience_s=0.0)


def test_who_was_not_heard_of_and_lost_the_lease_is_told_so(tmp_path: Path) -> None:
    store, clock = ObjectStore(f"file://{tmp_path / 'store'}"), Clock()
    lost = _lease(store, "lost", clock)
    with lost.held():
        lost.check()
        store.remove("lease.json")
        with _lease(store, "other", clock).held(), pytest.raises(StorageError, match="taken over"):
            lost.check()
        lost.check()
