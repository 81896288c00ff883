"""What is remembered from call to call: merged, written whole, lost where it is damaged."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.remembered import read_entries, write_entries

entries = st.dictionaries(st.text(max_size=3), st.integers(), max_size=4)


@given(first=entries, second=entries, forget=st.sets(st.text(max_size=3), max_size=3))
def test_entries_are_merged_the_newest_counts_and_the_forgotten_go(
    first: dict[str, int], second: dict[str, int], forget: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.json"
        write_entries(path, first, int)
        write_entries(path, second, int, forget=forget)
        expected = {k: v for k, v in {**first, **second}.items() if k not in forget}
        assert read_entries(path, int) == expected
        assert {p.name for p in Path(name).iterdir()} <= {"a.json"}


def test_a_damaged_entry_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1, "b": "no number", "c": None, "d": 4}), encoding="utf-8")
    assert read_entries(path, int) == {"a": 1, "d": 4}
    write_entries(path, {"e": 5}, int)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1, "d": 4, "e": 5}


def test_nothing_is_written_where_nothing_is_new(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_entries(path, {}, int)
    assert not path.exists()
    write_entries(path, {"a": 1}, int)
    before = path.stat()
    write_entries(path, {"a": 1}, int, forget=["b"])
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
