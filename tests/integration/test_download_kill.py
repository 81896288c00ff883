"""``spectrum download`` killed at any moment: what is resumed, and what it costs."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.faulty_proxy import Fault, Proxy, faulty_proxy
from tests.integration.download_process import (
    PART_BYTES,
    large_dataset,
    run_download,
    start_download,
    visible_files,
)
from tests.s3_server import ObjectStore, s3_server

NAME = "ds000901"
PACE = Fault(bytes_per_s=5e6)
"""Of each connection, so that a kill lands in the middle."""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return large_dataset(np.random.default_rng(901))


@pytest.fixture(scope="module")
def upstream(files: Mapping[str, bytes]) -> Iterator[str]:
    with s3_server() as url:
        ObjectStore(url).put(NAME, files)
        yield url


@pytest.fixture
def proxy(upstream: str) -> Iterator[Proxy]:
    with faulty_proxy(upstream) as proxy:
        proxy.spoil = lambda asked: PACE
        yield proxy


def _signal_at(
    process: subprocess.Popen[str], proxy: Proxy, num_bytes: int, number: signal.Signals
) -> None:
    deadline = time.monotonic() + 60
    while sum(proxy.sent_bytes.values()) < num_bytes and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)


def _sent_twice(proxy: Proxy, files: Mapping[str, bytes]) -> dict[str, int]:
    """Bytes of each file that the server sent beyond its size."""
    return {path: proxy.sent_bytes[f"{NAME}/{path}"] - len(body) for path, body in files.items()}


def _kill_and_resume(
    proxy: Proxy, files: Mapping[str, bytes], out: Path, rng: np.random.Generator
) -> dict[str, int]:
    total = sum(map(len, files.values()))
    process = start_download(NAME, out=out, url=proxy.url)
    _signal_at(process, proxy, int(total * rng.uniform(0.02, 0.98)), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    seen = visible_files(out / NAME)
    assert seen == {path: files[path] for path in seen}
    time.sleep(0.3)
    code, told, noted = run_download(NAME, "--json", out=out, url=proxy.url)
    assert code == 0, noted
    assert json.loads(told)["num_files"] == len(files)
    assert visible_files(out / NAME) == dict(files)
    twice = _sent_twice(proxy, files)
    assert all(0 <= num_bytes < PART_BYTES for num_bytes in twice.values()), twice
    return twice


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_download_is_resumed_and_less_than_a_part_of_a_file_is_fetched_twice(
    proxy: Proxy, files: Mapping[str, bytes], tmp_path: Path, seed: int
) -> None:
    _kill_and_resume(proxy, files, tmp_path, np.random.default_rng(seed))


@pytest.mark.slow
def test_twenty_kills_lose_less_than_a_part_of_a_file_each(
    upstream: str, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    for seed in range(20):
        with faulty_proxy(upstream) as proxy:
            proxy.spoil = lambda asked: PACE
            rng = np.random.default_rng(100 + seed)
            twice = _kill_and_resume(proxy, files, tmp_path / str(seed), rng)
            print(
                f"kill {seed:2d}: fetched twice {sum(twice.values())}, most {max(twice.values())}"
            )


def test_one_download_killed_again_and_again_still_ends(
    proxy: Proxy, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    total = sum(map(len, files.values()))
    for num_kills in range(1, 4):
        process = start_download(NAME, out=tmp_path, url=proxy.url)
        _signal_at(process, proxy, total * num_kills // 4, signal.SIGKILL)
        process.communicate(timeout=60)
    assert run_download(NAME, out=tmp_path, url=proxy.url)[0] == 0
    assert visible_files(tmp_path / NAME) == dict(files)
    assert all(num_bytes < 3 * PART_BYTES for num_bytes in _sent_twice(proxy, files).values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_says_how_to_go_on_and_loses_next_to_nothing(
    proxy: Proxy, files: Mapping[str, bytes], tmp_path: Path, number: signal.Signals
) -> None:
    process = start_download(NAME, out=tmp_path, url=proxy.url)
    _signal_at(process, proxy, 12_000_000, number)
    begun = time.monotonic()
    told, noted = process.communicate(timeout=60)
    assert time.monotonic() - begun < 5
    assert (process.returncode, told) == (128 + number, "")
    assert "the same command goes on from there" in noted
    assert "Traceback" not in noted
    assert (tmp_path / NAME / "download.json").is_file()
    assert run_download(NAME, out=tmp_path, url=proxy.url)[0] == 0
    assert visible_files(tmp_path / NAME) == dict(files)
    assert sum(_sent_twice(proxy, files).values()) < 2 * 1024**2


def test_an_interruption_does_not_wait_for_a_server_that_is_silent(
    proxy: Proxy, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    proxy.spoil = lambda asked: Fault(stall_after=100_000)
    process = start_download(NAME, out=tmp_path, url=proxy.url)
    _signal_at(process, proxy, 500_000, signal.SIGINT)
    begun = time.monotonic()
    _, noted = process.communicate(timeout=60)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130, noted


def test_two_downloads_into_one_folder_do_not_meet(
    proxy: Proxy, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    first = start_download(NAME, out=tmp_path, url=proxy.url)
    while not proxy.sent_bytes and first.poll() is None:
        time.sleep(0.01)
    code, told, noted = run_download(NAME, out=tmp_path, url=proxy.url)
    assert (code, told) == (1, "")
    assert "Another download is at work" in noted
    assert first.wait(60) == 0
    assert visible_files(tmp_path / NAME) == dict(files)


def test_a_disk_that_fills_up_is_told_in_two_sentences_and_resumed(
    proxy: Proxy, files: Mapping[str, bytes], tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))

    proxy.spoil = lambda asked: None
    process = start_download(NAME, out=tmp_path, url=proxy.url, before=limit)
    told, noted = process.communicate(timeout=60)
    assert (process.returncode, told) == (1, "")
    assert "Free disk space" in noted
    assert "Traceback" not in noted
    assert run_download(NAME, out=tmp_path, url=proxy.url)[0] == 0
    assert visible_files(tmp_path / NAME) == dict(files)
