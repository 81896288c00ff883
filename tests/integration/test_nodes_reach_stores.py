"""A cluster whose nodes do not know the store of a search: refused before any trial."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from spectrum.storage import ObjectStore
from tests.integration.test_two_nodes import RUNS, SPACE, Commands, cluster, spectrum
from tests.s3_server import s3_environment, s3_process

__all__ = ["cluster", "spectrum"]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_node_without_endpoint_and_credentials_is_named_before_any_trial(
    spectrum: Commands,
    cluster: dict[str, Any],
    tiny_bids: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tiny_bids(runs=RUNS)
    space = spectrum.home / "both.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    stored = ("--studies", "s3://lab/studies", "--shards", "s3://lab/shards")
    with s3_process("lab") as url:
        environment = s3_environment(url)
        searched = spectrum(
            "search", str(space), str(root), "--address", "auto", *stored, **environment
        )
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        left = ObjectStore("s3://lab/studies").names()

    assert searched.returncode == 1
    named = r"spectrum: The node \S+ \(127\.0\.0\.1\) lacks AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID"
    assert re.search(named, searched.stderr)
    assert "cannot use s3://lab/studies/both" in searched.stderr
    assert left == []
