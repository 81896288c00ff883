"""Measure ``spectrum download`` on loopback: throughput, and what each fault costs.

``python -m tests.benchmarks.downloading`` prints one object a case: outcome, retries, bytes that
the server sent beyond the sizes of the files.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from spectrum.data.download import DownloadRequest, World, download
from spectrum.data.download.config import FetchConfig
from spectrum.data.download.service import DownloadResult

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faulty_proxy import Asked, Fault, Proxy, faulty_proxy
from tests.s3_server import ObjectStore, s3_server

NAME = "ds000902"
IMAGE = "sub-01/func/sub-01_task-learn_bold.nii.gz"
KEY = f"{NAME}/{IMAGE}"
CONFIG = FetchConfig(
    part_bytes=256 * 1024, read_timeout_s=1.0, starvation_s=0.5, backoff_s=0.05, workers=4
)

Spoil = Callable[[Asked], Fault | None]


def _first(num: int, fault: Fault) -> Spoil:
    return lambda a: fault if (a.key, a.method) == (KEY, "GET") and a.number <= num else None


def _always(fault: Fault) -> Spoil:
    return lambda a: fault if (a.key, a.method) == (KEY, "GET") else None


def _cases(store: ObjectStore, image: bytes) -> dict[str, Spoil]:
    other = bytes(reversed(image))

    def change(asked: Asked) -> Fault | None:
        is_third = (asked.key, asked.method, asked.number) == (KEY, "GET", 3)
        return Fault(before=lambda: _put(store, other)) if is_third else None

    elsewhere = Fault(status=307, location="http://127.0.0.2:9/")
    return {
        "no fault": lambda asked: None,
        "503 SlowDown, 5 times": _first(5, Fault(status=503)),
        "503 SlowDown, always": _always(Fault(status=503)),
        "cut after 100 kB, 5 times": _first(5, Fault(cut_after=100_000)),
        "closed without an answer, 5 times": _first(5, Fault(is_dropped=True)),
        "silent after 100 kB, 4 times": _first(4, Fault(stall_after=100_000)),
        "starving at 200 bytes/s, 4 times": _first(4, Fault(bytes_per_s=200)),
        "starving at 200 bytes/s, always": _always(Fault(bytes_per_s=200)),
        "Content-Length too small, 4 times": _first(4, Fault(added_length=-100)),
        "Content-Length too large, 4 times": _first(4, Fault(added_length=100)),
        "range ignored, always": _always(Fault(is_range_ignored=True)),
        "right size, wrong bytes, once": _first(1, Fault(is_flipped=True)),
        "right size, wrong bytes, always": _always(Fault(is_flipped=True)),
        "redirect to another host": _always(elsewhere),
        "object changed between parts, versions kept": change,
        "object changed between parts, no versions": change,
    }


def _put(store: ObjectStore, image: bytes) -> None:
    store.put(NAME, {IMAGE: image, "README": b"readme\n"})


def _fetch(proxy_url: str, config: FetchConfig) -> tuple[DownloadResult, float]:
    with tempfile.TemporaryDirectory() as folder:
        request = DownloadRequest(
            datasets=(NAME,), out=Path(folder), endpoint_url=proxy_url, fetch=config
        )
        begun = time.perf_counter()
        result = download(request, world=World(), on_progress=lambda done, total: None)
        return result, time.perf_counter() - begun


def _case(proxy: Proxy, title: str, num_bytes: int) -> dict[str, object]:
    if title.endswith("no versions"):
        proxy.hidden_headers = ("x-amz-version-id",)
    result, seconds = _fetch(proxy.url, CONFIG)
    refused = [problem.code for problem in result.refused]
    return {
        "case": title,
        "outcome": f"refused: {refused[0]}" if refused else "whole",
        "retries": result.num_retries,
        "sent_beyond_size": max(0, proxy.sent_bytes[KEY] - num_bytes),
        "seconds": round(seconds, 2),
    }


def _throughput(store: ObjectStore, url: str, rng: np.random.Generator) -> dict[str, object]:
    sizes = {f"sub-{n:02d}/func/sub-{n:02d}_task-a_bold.nii.gz": 32 * 1024**2 for n in range(1, 9)}
    store.put(NAME, {path: rng.bytes(num_bytes) for path, num_bytes in sizes.items()})
    result, seconds = _fetch(url, FetchConfig())
    return {
        "case": "throughput, 8 files of 32 MiB, no proxy",
        "outcome": "whole" if not result.refused else "refused",
        "megabytes_per_second": round(result.fetched_bytes / seconds / 1e6, 1),
        "seconds": round(seconds, 2),
    }


def main() -> None:
    """Run every case and print it."""
    rng = np.random.default_rng(0)
    image = rng.bytes(2_000_003)
    with s3_server() as url:
        store = ObjectStore(url)
        for title, spoil in _cases(store, image).items():
            _put(store, image)
            with faulty_proxy(url) as proxy:
                proxy.spoil = spoil
                sys.stdout.write(json.dumps(_case(proxy, title, len(image))) + "\n")
        sys.stdout.write(json.dumps(_throughput(store, url, rng)) + "\n")


if __name__ == "__main__":
    main()
