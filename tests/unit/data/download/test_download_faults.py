"""A server that fails in every way seen in the field: each fault is survived or named."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spectrum.data.download import World
from spectrum.data.download.config import Filters
from spectrum.data.download.service import DownloadResult
from spectrum.errors import DownloadError
from tests.faulty_proxy import Asked, Fault, Proxy
from tests.s3_server import ObjectStore
from tests.unit.data.download.conftest import QUICK

Fetch = Callable[..., DownloadResult]
Files = Mapping[str, bytes]

IMAGE = "sub-01/func/sub-01_task-learn_run-1_bold.nii.gz"
KEY = f"ds000900/{IMAGE}"
ONE_RUN = Filters(subject=("01",), run=("1",))


def _first_gets(num: int, fault: Fault) -> Callable[[Asked], Fault | None]:
    return lambda a: fault if a.key == KEY and a.method == "GET" and a.number <= num else None


def _every_get(fault: Fault) -> Callable[[Asked], Fault | None]:
    return lambda a: fault if a.key == KEY and a.method == "GET" else None


def _arrived(tmp_path: Path) -> bytes:
    return (tmp_path / "raw/ds000900" / IMAGE).read_bytes()


def _codes(result: DownloadResult) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in result.refused]


@pytest.mark.parametrize(
    ("fault", "num_spoiled"),
    [
        pytest.param(Fault(status=503), 3, id="slow-down"),
        pytest.param(Fault(status=500), 3, id="internal-error"),
        pytest.param(Fault(cut_after=30_000), 3, id="cut"),
        pytest.param(Fault(cut_after=0), 3, id="cut-at-once"),
        pytest.param(Fault(added_length=-100), 2, id="length-too-small"),
        pytest.param(Fault(added_length=100), 2, id="length-too-large"),
        pytest.param(Fault(stall_after=20_000), 2, id="stalled"),
        pytest.param(Fault(bytes_per_s=200), 2, id="starving"),
    ],
)
def test_a_fault_that_passes_is_survived_and_nothing_is_fetched_twice(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path, fault: Fault, num_spoiled: int
) -> None:
    proxy.spoil = _first_gets(num_spoiled, fault)
    result = fetch(filters=ONE_RUN)
    assert result.refused == ()
    assert _arrived(tmp_path) == dataset[IMAGE]
    assert result.num_retries >= num_spoiled
    assert result.fetched_bytes == result.as_json()["num_bytes"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(Fault(status=503), "server-error", id="slow-down"),
        pytest.param(Fault(cut_after=0), "short-body", id="cut-at-once"),
        pytest.param(Fault(added_length=100), "wrong-length", id="length-too-large"),
        pytest.param(Fault(stall_after=0), "read-timeout", id="stalled"),
        pytest.param(Fault(bytes_per_s=200), "starved", id="starving"),
        pytest.param(Fault(status=403), "forbidden", id="forbidden"),
        pytest.param(Fault(is_flipped=True), "wrong-bytes", id="right-size-wrong-bytes"),
        pytest.param(
            Fault(status=307, location="http://127.0.0.2:9/x"), "redirected", id="redirect"
        ),
    ],
)
def test_a_fault_that_stays_is_named_and_the_other_files_arrive(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path, fault: Fault, code: str
) -> None:
    proxy.spoil = _every_get(fault)
    settings = QUICK.model_copy(update={"max_attempts": 2, "read_timeout_s": 1.0})
    result = fetch(fetch=settings)
    assert _codes(result) == [(code, IMAGE)]
    assert not (tmp_path / "raw/ds000900" / IMAGE).exists()
    others = {path for path in dataset if "/anat/" not in path} - {IMAGE}
    assert {record.path for record in result.records} == others


def test_wrong_bytes_are_fetched_once_more_and_the_right_ones_kept(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.spoil = _first_gets(1, Fault(is_flipped=True))
    result = fetch(filters=ONE_RUN)
    assert result.refused == ()
    assert _arrived(tmp_path) == dataset[IMAGE]


def test_a_server_that_ignores_ranges_sends_the_whole_file_once_it_is_asked_for_it(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.spoil = _every_get(Fault(is_range_ignored=True))
    result = fetch(filters=ONE_RUN)
    assert result.refused == ()
    assert _arrived(tmp_path) == dataset[IMAGE]


def test_a_server_that_ignores_ranges_and_cuts_is_survived_too(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    whole = [0]

    def spoil(asked: Asked) -> Fault | None:
        if asked.key != KEY or asked.method != "GET":
            return None
        whole[0] += not asked.range
        is_cut = not asked.range and whole[0] == 1
        return Fault(is_range_ignored=True, cut_after=100_000 if is_cut else None)

    proxy.spoil = spoil
    assert fetch(filters=ONE_RUN).refused == ()
    assert _arrived(tmp_path) == dataset[IMAGE]


def test_parts_stay_with_the_version_they_began_with(
    fetch: Fetch, dataset: Files, proxy: Proxy, store: ObjectStore, tmp_path: Path
) -> None:
    """The store keeps the old version, so the file is whole although the object changed."""

    def change() -> None:
        store.put("ds000900", {IMAGE: b"x" * 300_001})

    proxy.spoil = lambda a: (
        Fault(before=change) if (a.key, a.method, a.number) == (KEY, "GET", 3) else None
    )
    assert fetch(filters=ONE_RUN).refused == ()
    assert _arrived(tmp_path) == dataset[IMAGE]


def test_an_object_without_versions_that_changes_between_parts_is_started_over(
    fetch: Fetch, dataset: Files, proxy: Proxy, store: ObjectStore, tmp_path: Path
) -> None:
    new = b"y" * 299_000

    def change() -> None:
        store.put("ds000900", {IMAGE: new})

    proxy.spoil = lambda a: (
        Fault(before=change) if (a.key, a.method, a.number) == (KEY, "GET", 3) else None
    )
    proxy.hidden_headers = ("x-amz-version-id",)
    result = fetch(filters=ONE_RUN)
    assert result.refused == ()
    assert _arrived(tmp_path) == new


def test_an_object_that_changes_all_the_time_is_given_up_by_name(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.spoil = _every_get(Fault(status=412))
    assert _codes(fetch(filters=ONE_RUN)) == [("object-changed", IMAGE)]


def test_a_server_that_nobody_can_reach_stops_everything_with_one_sentence(
    fetch: Fetch, tmp_path: Path
) -> None:
    begun = time.monotonic()
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        fetch(endpoint_url="http://127.0.0.1:9")
    assert caught.value.code == "unreachable"
    assert time.monotonic() - begun < 10


def test_a_server_that_goes_away_stops_everything_and_what_arrived_is_kept(
    fetch: Fetch, dataset: Files, proxy: Proxy
) -> None:
    proxy.spoil = lambda a: Fault(is_dropped=proxy.sent_bytes[KEY] >= 150_000)
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        fetch(fetch=QUICK.model_copy(update={"workers": 1}))
    assert caught.value.code == "unreachable"
    assert proxy.sent_bytes[KEY] < len(dataset[IMAGE])
    proxy.spoil = lambda a: None
    assert fetch().refused == ()
    assert proxy.sent_bytes[KEY] == len(dataset[IMAGE])


def test_waits_double_and_never_exceed_their_bound(
    fetch: Fetch, dataset: Files, proxy: Proxy
) -> None:
    waits: list[float] = []
    proxy.spoil = _every_get(Fault(status=503))
    settings = QUICK.model_copy(
        update={"workers": 1, "backoff_s": 1.0, "max_backoff_s": 3.0, "max_attempts": 5}
    )
    fetch(World(sleep=waits.append), filters=ONE_RUN, fetch=settings)
    assert len(waits) == 4
    for wait, bound in zip(waits, (1.0, 2.0, 3.0, 3.0), strict=True):
        assert 0.0 <= wait <= bound
    assert len(set(waits)) == 4


def test_a_full_disk_stops_everything_and_says_what_to_do(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    room = [100_000]

    def write_at(descriptor: int, data: memoryview, start: int) -> int:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(descriptor, data, start)

    with pytest.raises(DownloadError, match="Free disk space") as caught:
        fetch(World(write_at=write_at), filters=ONE_RUN)
    assert caught.value.code == "disk-full"
    assert not (tmp_path / "raw/ds000900" / IMAGE).exists()
    assert fetch(filters=ONE_RUN).refused == ()
    assert _arrived(tmp_path) == dataset[IMAGE]


def test_another_version_than_the_pinned_one_is_not_taken_for_it(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    """Bytes and ETag are right, so that only the answered version can tell."""
    proxy.spoil = _every_get(Fault(headers=(("x-amz-version-id", "another"),)))
    assert _codes(fetch(filters=ONE_RUN)) == [("object-changed", IMAGE)]
    assert not (tmp_path / "raw/ds000900" / IMAGE).exists()
