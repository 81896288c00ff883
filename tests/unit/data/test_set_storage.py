"""Shard sets in a store: stored once, fetched whole, and not asked about when that is known."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum.data.pipeline import prepare
from spectrum.data.runs import RunTable
from spectrum.data.set_storage import SetStorage, is_whole
from spectrum.data.shards import ShardSet
from spectrum.data.store import find_by_content
from spectrum.errors import StorageError
from spectrum.storage import ObjectStore, working_copy
from tests.unit.report.planted_shards import RECIPE, plant_shards


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))
    return f"file://{tmp_path / 'store' / 'shards'}"


def storage_of(root: Path) -> SetStorage:
    storage = SetStorage.of(root)
    assert storage is not None
    return storage


def make_set(root: Path, name: str = "0a-1b") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "a.parquet").write_bytes(b"volumes")
    return folder


def test_a_set_is_stored_once_and_fetched_whole_by_who_lacks_it(address: str) -> None:
    root = working_copy(address).path
    folder = make_set(root)
    assert not storage_of(root).has_any("0a")
    storage_of(root).keep(folder)
    shutil.rmtree(folder)

    assert storage_of(root).has_any("0a")
    assert not storage_of(root).fetch(root / "0a-other")
    assert storage_of(root).fetch(folder)
    assert (folder / "a.parquet").read_bytes() == b"volumes"


def test_a_set_that_is_known_to_be_stored_needs_no_store(tmp_path: Path, address: str) -> None:
    root = working_copy(address).path
    folder = make_set(root)
    storage_of(root).keep(folder)
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "store").write_text("no folder any more")

    storage_of(root).keep(folder)
    with pytest.raises(StorageError, match="cannot be"):
        ObjectStore(address).put("x", b"")


def test_a_machine_that_lacks_a_set_finds_it_by_its_content_in_the_store(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, tiny_bids: Callable[..., Path]
) -> None:
    root = working_copy(address).path
    made, _ = plant_shards([tiny_bids()], root)
    for folder in (made.path, make_set(root, "of-another-version")):
        storage_of(root).keep(folder)
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "elsewhere"))
    there = [tmp_path / "plain", working_copy(address).path]

    assert find_by_content("another", there) is None
    found = find_by_content(made.manifest.content_hash, there)
    assert found == there[1] / made.path.name
    assert ShardSet.open(found).manifest == made.manifest
    shutil.rmtree(tmp_path / "store")
    assert find_by_content(made.manifest.content_hash, there) == found


def test_a_folder_without_an_address_has_no_storage(tmp_path: Path) -> None:
    assert SetStorage.of(tmp_path) is None


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def planted(address: str, tiny_bids: Callable[..., Path]) -> tuple[ShardSet, RunTable]:
    """A set that this machine has made and stored."""
    made, table = plant_shards([tiny_bids()], working_copy(address).path)
    storage_of(made.path.parent).keep(made.path)
    return made, table


@pytest.mark.parametrize("damage", [cut_off, change])
def test_a_copy_that_was_damaged_is_fetched_anew(
    planted: tuple[ShardSet, RunTable], damage: Callable[[Path], None]
) -> None:
    made, table = planted
    damage(made.path / made.manifest.runs[0].shard)

    found = prepare(table, RECIPE, shards_root=made.path.parent)
    assert (found.shards, found.reused) == (made.path, True)
    ShardSet.open(found.shards).check_content()
    assert not [path for path in made.path.parent.iterdir() if "aside" in path.name]


@pytest.mark.parametrize("damage", [cut_off, change])
def test_a_copy_that_was_damaged_is_not_found_by_its_content(
    planted: tuple[ShardSet, RunTable], damage: Callable[[Path], None]
) -> None:
    made, _ = planted
    damage(made.path / made.manifest.runs[0].shard)

    assert find_by_content(made.manifest.content_hash, [made.path.parent]) == made.path
    ShardSet.open(made.path).check_content()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_damaged_copy_of_a_set_that_is_not_stored_any_more_is_made_again(
    tmp_path: Path, planted: tuple[ShardSet, RunTable]
) -> None:
    made, table = planted
    cut_off(made.path / made.manifest.runs[0].shard)
    shutil.rmtree(tmp_path / "store")

    found = prepare(table, RECIPE, shards_root=made.path.parent)
    assert (found.shards.exists(), found.reused) == (True, False)
    ShardSet.open(found.shards).check_content()


def test_a_copy_that_is_evicted_while_it_is_looked_at_is_none(address: str) -> None:
    folder = make_set(working_copy(address).path)
    storage_of(folder.parent).keep(folder)
    assert is_whole(folder)
    book = folder / ".mirror.json"
    content = book.read_text()
    book.unlink()
    os.mkfifo(book)

    def evict() -> None:
        # Opened when the other side begins to read, which goes on until it is closed.
        with book.open("w") as pipe:
            shutil.rmtree(folder)
            pipe.write(content)

    other = threading.Thread(target=evict, daemon=True)
    other.start()
    assert not is_whole(folder)
    other.join()


def test_a_copy_whose_files_are_newer_and_the_same_is_read_once_and_kept(
    planted: tuple[ShardSet, RunTable],
) -> None:
    made, table = planted
    book = made.path / ".mirror.json"
    os.utime(book, (0, 0))

    assert prepare(table, RECIPE, shards_root=made.path.parent).reused
    newest_ns = max(path.stat().st_mtime_ns for path in made.path.glob("*.parquet"))
    assert book.stat().st_mtime_ns >= newest_ns
