"""Files that anyone may have written."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from spectrum.config.files import read_file


def test_a_small_file_takes_little_memory_however_large_it_might_be(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_bytes(b"{}")
    tracemalloc.start()
    try:
        assert read_file(path, max_bytes=2**30) == b"{}"
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20])
def test_a_file_of_just_the_allowed_size_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * size)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read_file(path, max_bytes=size) == b"a" * size
    assert read_file(link, max_bytes=size) == b"a" * size


def test_a_file_of_one_byte_too_many_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    with pytest.raises(OSError, match="it has 3 bytes, more than 2"):
        read_file(path, max_bytes=2)
