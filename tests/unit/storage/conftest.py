"""Stores of two kinds for the same tests: a folder, and an S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import s3_environment, s3_process

BUCKET = "lab-studies"


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_process(BUCKET) as url:
        yield url


@pytest.fixture(params=["file", "s3"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An address that holds nothing."""
    if request.param == "file":
        return f"file://{tmp_path / 'store'}"
    for name, value in s3_environment(request.getfixturevalue("s3_url")).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}-{request.node.name.encode().hex()[:40]}"
