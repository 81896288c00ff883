"""Shard sets of a tiny tree: the recipe that tests share, and what tells sets apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spectrum.config import PreprocessingConfig
from spectrum.data.bids import index_bids
from spectrum.data.pipeline import PrepareResult, prepare
from spectrum.data.shards import ShardSet

RECIPE = PreprocessingConfig(
    grid="matrix", matrix=(5, 6, 4), drop_initial_volumes=1, high_pass_hz=0.0
)


def prepare_tree(root: Path, shards_root: Path, **options: Any) -> PrepareResult:
    return prepare(index_bids([root]), RECIPE, shards_root=shards_root, **options)


def content_of(result: PrepareResult) -> str:
    """Return the content hash of a set after a look at every run of it."""
    shards = ShardSet.open(result.shards)
    shards.check_content()
    return shards.manifest.content_hash
