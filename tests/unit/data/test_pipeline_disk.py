"""Disks that are full or no place for shards, and sets that nobody may remove meanwhile."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum.data.holders import held_sets
from spectrum.errors import ShardError
from tests.tiny_bids import TASK, write_run
from tests.unit.data.tiny_sets import prepare_tree


def test_a_path_below_a_file_is_no_place_for_shards(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ShardError, match=r"cannot be written under .*file/x: .*Look at the path"):
        prepare_tree(tiny_bids(), tmp_path / "file" / "x")


def test_a_disk_without_room_for_the_lock_is_told_and_no_lock_is_left(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    root = tiny_bids()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(ShardError, match="finished runs are kept"):
            prepare_tree(root, tmp_path / "shards")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_sets_whose_runs_are_taken_over_are_held_while_the_next_is_made(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    root, shards_root = tiny_bids(), tmp_path / "shards"
    held: list[set[str]] = []
    first = prepare_tree(root, shards_root)
    write_run(root, ("02", TASK, "03"), 17)
    second = prepare_tree(
        root, shards_root, on_run_done=lambda done, total: held.append(set(held_sets(shards_root)))
    )
    assert second.shards != first.shards
    assert held == [{first.shards.name}]
    assert held_sets(shards_root) == {}
