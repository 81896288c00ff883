"""Sets whose making ended halfway: nothing half made is seen, nothing finished is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from spectrum.data.bids import index_bids
from spectrum.data.pipeline import find_shards
from spectrum.owners import this_process
from tests.unit.data.tiny_sets import RECIPE, content_of, prepare_tree

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture
def root(tiny_bids: Callable[..., Path]) -> Path:
    return tiny_bids()


@pytest.fixture
def shards_root(tmp_path: Path) -> Path:
    return tmp_path / "shards"


class _StopError(Exception):
    """Stands for whatever ends the driver halfway."""


def test_what_is_interrupted_leaves_no_set_and_loses_no_finished_run(
    root: Path, shards_root: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise _StopError

    with pytest.raises(_StopError):
        prepare_tree(root, shards_root, on_run_done=stop)
    assert not list(shards_root.glob("*/manifest.json"))
    assert not list(shards_root.glob("*.lock"))
    assert find_shards(index_bids([root]), RECIPE, shards_root) is None
    (shards_root / ".aside-left-by-a-kill").mkdir()
    made = prepare_tree(root, shards_root)
    assert content_of(made) == content_of(prepare_tree(root, shards_root.with_name("undisturbed")))


def test_finished_pieces_of_an_interrupted_call_are_used(root: Path, shards_root: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == total:
            raise _StopError

    with pytest.raises(_StopError):
        prepare_tree(root, shards_root, on_run_done=stop)
    piece = next(shards_root.glob(".pieces-*/*.parquet"))
    piece.write_bytes(piece.read_bytes()[:-9])
    seen: list[tuple[int, int]] = []
    made = prepare_tree(
        root, shards_root, on_run_done=lambda done, total: seen.append((done, total))
    )
    assert seen == [(4, 4)]
    assert content_of(made) == content_of(prepare_tree(root, shards_root.with_name("undisturbed")))
    assert not list(shards_root.glob(".pieces-*"))


def test_what_a_maker_left_that_died_after_its_set_was_there_goes_with_the_next_call(
    root: Path, shards_root: Path
) -> None:
    first = prepare_tree(root, shards_root)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead = replace(this_process(), pid=process.pid, started=0)
    lock = shards_root / f".{first.fingerprint[:16]}.lock"
    lock.write_text(json.dumps({"token": "old", **asdict(dead)}), encoding="utf-8")
    tag = f"{dead.machine}.{dead.pid}.0.{'0' * 12}"
    (shards_root / f".aside-{first.fingerprint[:16]}.{tag}.aside").mkdir()
    (shards_root / ".aside-of-somebody-else").mkdir()
    assert prepare_tree(root, shards_root).reused
    left = [path.name for path in shards_root.iterdir() if path.name.startswith(".")]
    assert sorted(left) == [".aside-of-somebody-else", ".spatial", ".used"]


def test_a_damaged_set_is_made_again(root: Path, shards_root: Path) -> None:
    first = prepare_tree(root, shards_root)
    content = content_of(first)
    (first.shards / "manifest.json").write_text("{", encoding="utf-8")
    again = prepare_tree(root, shards_root)
    assert not again.reused
    assert again.shards == first.shards
    assert content_of(again) == content
