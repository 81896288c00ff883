"""Mapped columns: the values that Arrow reads, without a copy, and nothing from a damaged page."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.parquet_pages import PlainColumn, view_column
from spectrum.errors import ShardError


def write_column(path: Path, values: NDArray[np.uint8], **options: object) -> PlainColumn:
    num_values, width = values.shape
    raw = pa.py_buffer(values.tobytes())
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), num_values, [None, raw])
    how: dict[str, object] = {
        "compression": "none",
        "use_dictionary": False,
        "write_statistics": False,
        "write_page_checksum": True,
        "store_schema": False,
    }
    pq.write_table(pa.table({"slices": array}), path, **(how | options))
    column = pq.read_metadata(path).row_group(0).column(0)
    return PlainColumn(
        begin=column.data_page_offset,
        num_bytes=column.total_compressed_size,
        num_values=num_values,
        width=width,
    )


def mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def values_of(rng: np.random.Generator, num_values: int, width: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, size=(num_values, width), dtype=np.uint8)


@pytest.mark.parametrize(("num_values", "width"), [(8, 2), (9, 14), (200, 70), (1500, 30)])
def test_values_are_a_view_that_nobody_can_write_to(
    tmp_path: Path, rng: np.random.Generator, num_values: int, width: int
) -> None:
    values = values_of(rng, num_values, width)
    column = write_column(tmp_path / "a.parquet", values)
    found = view_column(mapped(tmp_path / "a.parquet"), column, tmp_path)
    assert found is not None
    assert np.array_equal(found, values)
    assert not found.flags.writeable


def test_several_pages_are_put_together(tmp_path: Path, rng: np.random.Generator) -> None:
    values = values_of(rng, 3000, 40)
    column = write_column(tmp_path / "a.parquet", values, data_page_size=4000, write_batch_size=64)
    found = view_column(mapped(tmp_path / "a.parquet"), column, tmp_path)
    assert found is not None
    assert np.array_equal(found, values)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "snappy"},
        {"use_dictionary": True},
        {"write_page_checksum": False},
        {"data_page_version": "2.0"},
        {"column_encoding": "BYTE_STREAM_SPLIT"},
    ],
)
def test_another_layout_is_left_to_arrow(
    tmp_path: Path, rng: np.random.Generator, options: dict[str, object]
) -> None:
    column = write_column(tmp_path / "a.parquet", values_of(rng, 30, 6), **options)
    assert view_column(mapped(tmp_path / "a.parquet"), column, tmp_path) is None


def test_a_flipped_bit_is_found(tmp_path: Path, rng: np.random.Generator) -> None:
    column = write_column(tmp_path / "a.parquet", values_of(rng, 30, 6))
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[column.begin + column.num_bytes - 5] ^= 4
    with pytest.raises(ShardError, match=r"a\.parquet cannot be read: a page is not"):
        view_column(memoryview(bytes(content)), column, tmp_path / "a.parquet")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_header_never_gives_other_values(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.parquet"
    values = values_of(np.random.default_rng(3), 20, 6)
    column = write_column(path, values)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[column.begin + data.draw(st.integers(0, 30))] = data.draw(st.integers(0, 255))
    try:
        found = view_column(memoryview(bytes(content)), column, path)
    except ShardError:
        return
    assert found is None or np.array_equal(found, values)
