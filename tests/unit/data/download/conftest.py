"""An S3 server on loopback with versioned objects, a proxy before it, and data sets in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from spectrum.data.download import DownloadRequest, World, download
from spectrum.data.download.config import FetchConfig
from spectrum.data.download.service import DownloadResult
from tests.faulty_proxy import Proxy, faulty_proxy
from tests.s3_server import ObjectStore, s3_server

QUICK = FetchConfig(
    workers=4,
    part_bytes=64 * 1024,
    max_attempts=4,
    backoff_s=0.0,
    read_timeout_s=2.0,
    connect_timeout_s=2.0,
    starvation_s=0.5,
)
"""Small parts, no waits: what takes seconds on the net takes none here."""


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def store(s3_url: str) -> Iterator[ObjectStore]:
    store = ObjectStore(s3_url)
    yield store
    store.empty()


@pytest.fixture
def proxy(s3_url: str) -> Iterator[Proxy]:
    with faulty_proxy(s3_url) as proxy:
        yield proxy


@pytest.fixture
def dataset(store: ObjectStore, rng: np.random.Generator) -> Mapping[str, bytes]:
    """A data set ds000900 in the store: two subjects, two runs of unequal sizes, text, anatomy."""
    files = {
        "README": b"two subjects\n",
        "dataset_description.json": b'{"Name": "planted", "BIDSVersion": "1.0.0"}',
        "task-learn_bold.json": b'{"RepetitionTime": 2.0, "TaskName": "learn"}',
    }
    for subject, num_bytes in (("01", 300_000), ("02", 70_001)):
        for run in ("1", "2"):
            stem = f"sub-{subject}/func/sub-{subject}_task-learn_run-{run}"
            files[f"{stem}_bold.nii.gz"] = rng.bytes(num_bytes + int(run))
            files[f"{stem}_events.tsv"] = f"onset\tduration\n{run}\t2\n".encode()
        files[f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"] = rng.bytes(1_234)
    store.put("ds000900", files)
    return files


@pytest.fixture
def fetch(proxy: Proxy, tmp_path: Path) -> Callable[..., DownloadResult]:
    """Download ds000900 through the proxy into ``tmp_path / 'raw'``."""

    def call(world: World | None = None, **settings: object) -> DownloadResult:
        given = {
            "datasets": ("ds000900",),
            "out": tmp_path / "raw",
            "endpoint_url": proxy.url,
            "fetch": QUICK,
            **settings,
        }
        request = DownloadRequest.model_validate(given)
        return download(request, world=world or World(), on_progress=lambda done, total: None)

    return call
