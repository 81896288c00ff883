import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.store import IN_USE_S, list_sets, mark_used, prune_sets

NOW_S = 1_000_000.0


def clock() -> float:
    return NOW_S


def planted(root: Path, name: str, *, num_bytes: int, age_s: float) -> Path:
    """Write a set of one file that was used some time ago; its manifest weighs two bytes."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "sub-01.parquet").write_bytes(b"x" * (num_bytes - 2))
    mark_used(folder, clock=lambda: NOW_S - age_s)
    return folder


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != ".used")


def test_sets_are_listed_by_last_use_with_their_bytes(tmp_path: Path) -> None:
    planted(tmp_path, "old", num_bytes=40, age_s=900)
    planted(tmp_path, "new", num_bytes=70, age_s=5)
    (tmp_path / ".pieces-x").mkdir()
    (tmp_path / "digests.json").write_text("{}")
    found = list_sets(tmp_path)
    assert [(s.path.name, s.num_bytes) for s in found] == [("new", 70), ("old", 40)]
    assert found[1].used_s == pytest.approx(NOW_S - 900)
    assert found[0].recipe is None


def test_to_list_sets_is_not_to_use_them(tmp_path: Path) -> None:
    planted(tmp_path, "a", num_bytes=10, age_s=90_000)
    assert list_sets(tmp_path) == list_sets(tmp_path)
    assert list_sets(tmp_path)[0].used_s == pytest.approx(NOW_S - 90_000)


def test_a_set_that_was_never_opened_was_used_when_it_was_made(tmp_path: Path) -> None:
    folder = planted(tmp_path, "a", num_bytes=10, age_s=0)
    (tmp_path / ".used" / "a").unlink()
    os.utime(folder / "manifest.json", (5.0, 5.0))
    assert list_sets(tmp_path)[0].used_s == 5.0


sets = st.lists(st.tuples(st.integers(2, 50), st.integers(0, 600)), max_size=6)


@given(sets, st.integers(0, 200), st.integers(0, 5))
def test_what_was_used_last_stays_and_the_rest_fits_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    budget_bytes: int,
    kept_index: int,
) -> None:
    root = tmp_path_factory.mktemp("shards")
    folders = [
        planted(root, f"set{index}", num_bytes=size, age_s=age)
        for index, (size, age) in enumerate(sizes)
    ]
    keep = folders[kept_index : kept_index + 1]
    told = prune_sets(root, budget_bytes=budget_bytes, keep=keep, dry_run=True, clock=clock)
    assert len(names(root)) == len(sizes)
    pruned = prune_sets(root, budget_bytes=budget_bytes, keep=keep, clock=clock)
    assert told == pruned
    assert names(root) == sorted(stored.path.name for stored in pruned.kept)
    assert all(path.is_dir() for path in keep)
    assert all(NOW_S - stored.used_s > IN_USE_S for stored in pruned.removed)
    oldest_kept = [s for s in pruned.kept if NOW_S - s.used_s > IN_USE_S and s.path not in keep]
    assert pruned.bytes_after <= budget_bytes or not oldest_kept
    assert pruned.bytes_before == sum(size for size, _ in sizes)
    for gone in pruned.removed:
        assert all(stored.used_s >= gone.used_s for stored in oldest_kept)


def test_files_that_sets_share_count_once(tmp_path: Path) -> None:
    first = planted(tmp_path, "first", num_bytes=102, age_s=900)
    second = planted(tmp_path, "second", num_bytes=3, age_s=800)
    os.link(first / "sub-01.parquet", second / "shared.parquet")
    pruned = prune_sets(tmp_path, budget_bytes=105, clock=clock)
    assert (pruned.bytes_before, pruned.removed) == (105, ())
    pruned = prune_sets(tmp_path, budget_bytes=104, clock=clock)
    assert [stored.path.name for stored in pruned.removed] == ["first"]
    assert (second / "shared.parquet").read_bytes() == b"x" * 100


def test_a_folder_without_sets_is_empty(tmp_path: Path) -> None:
    assert list_sets(tmp_path / "absent") == ()
    assert prune_sets(tmp_path, budget_bytes=0, clock=clock).removed == ()
