"""Values of a Parquet column that lie in its file as they are: found, checked, and not copied.

A column of fixed-size values without compression is its values one after the other, behind a short
header a page. Arrow copies such a column several times; here the file is mapped into memory and
the values are a view of it, after their checksum was compared. Only the one layout that our writer
gives is known; anything else is left to Arrow. Not here: the footer, which says where a column is
(``shards``).

Source of the layout: Apache Parquet format 2.11, ``parquet.thrift`` (PageHeader, DataPageHeader)
and ``Encodings.md`` (RLE/bit-packing hybrid); Apache Thrift, ``thrift-compact-protocol.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from spectrum.errors import ShardError

__all__ = ["PlainColumn", "view_column"]

DATA_PAGE: Final = 0
PLAIN: Final = 0
PAGE_TYPE, RAW_SIZE, STORED_SIZE, CRC, DATA_HEADER = 1, 2, 3, 4, 5
"""Fields of a PageHeader."""
NUM_VALUES, ENCODING = 1, 2
"""Fields of a DataPageHeader."""

BOOLEANS: Final = (1, 2)
INTEGERS: Final = (4, 5, 6)
BINARY, STRUCT = 8, 12
"""Types of the compact protocol; others stand in no header that we read."""

MAX_DEPTH: Final = 3
"""Structs in structs: page header, data page header, statistics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainColumn:
    """Where a column chunk lies in its file: first byte of its first page, length, values, width.

    ``num_bytes`` counts page headers; ``width`` is the bytes of one value.
    """

    begin: int
    num_bytes: int
    num_values: int
    width: int


def view_column(mapped: memoryview, column: PlainColumn, path: Path) -> NDArray[np.uint8] | None:
    """Return the values of a column, (values, width), as a read-only view of a mapped file.

    Parameters
    ----------
    mapped : the whole file
    column : where the values lie
    path : of the file, for what is said of it

    Returns
    -------
    values
        None where the column has another layout than our writer's, which Arrow may know. The view
        stays good when the file is removed; nobody writes to a file that has its final name.

    Raises
    ------
    ShardError
        Where a page is not what its checksum says.
    """
    try:
        chunk = mapped[column.begin : column.begin + column.num_bytes]
        pages = list(_iter_pages(chunk, column, path))
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    values = pages[0] if len(pages) == 1 else np.concatenate(pages or [np.empty(0, np.uint8)])
    if values.size != column.num_values * column.width:
        return None
    return values.reshape(column.num_values, column.width)


def _iter_pages(chunk: memoryview, column: PlainColumn, path: Path) -> Iterator[NDArray[np.uint8]]:
    at = 0
    while at < len(chunk):
        header, at = _read_struct(chunk, at, 0)
        data = header[DATA_HEADER]
        size, num_values = header[STORED_SIZE], data[NUM_VALUES]
        is_known = (header[PAGE_TYPE], data[ENCODING]) == (DATA_PAGE, PLAIN)
        if not is_known or size != header[RAW_SIZE] or not 0 <= size <= len(chunk) - at:
            raise ValueError("another layout")
        page = chunk[at : at + size]
        levels = _levels(num_values)
        if page[: len(levels)] != levels or size != len(levels) + num_values * column.width:
            raise ValueError("values are missing, or told in another way")
        _check_sum(page, header[CRC], path)
        yield np.frombuffer(page, dtype=np.uint8)[len(levels) :]
        at += size


def _levels(num_values: int) -> bytes:
    """Return how a page says that all its values are there: one repeated level of 1."""
    run = _varint(num_values << 1) + b"\x01"
    return len(run).to_bytes(4, "little") + run


def _check_sum(page: memoryview, crc: int, path: Path) -> None:
    if isal_zlib.crc32(page) != crc & 0xFFFFFFFF:
        raise ShardError(
            f"{path} cannot be read: a page is not what its checksum says. "
            "Make the set again with `spectrum prepare`."
        )


def _read_struct(chunk: memoryview, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a Thrift struct by number, and where it ends."""
    if depth > MAX_DEPTH:
        raise ValueError("structs too deep")
    fields: dict[int, Any] = {}
    number = 0
    while (head := chunk[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _read_integer(chunk, at)
        fields[number], at = _read_value(chunk, at, head & 0x0F, depth)
    return fields, at + 1


def _read_value(chunk: memoryview, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in BOOLEANS:
        return kind == BOOLEANS[0], at
    if kind in INTEGERS:
        return _read_integer(chunk, at)
    if kind == STRUCT:
        return _read_struct(chunk, at, depth + 1)
    if kind == BINARY:
        size, at = _read_varint(chunk, at)
        return None, at + size
    raise ValueError("another type")


def _read_integer(chunk: memoryview, at: int) -> tuple[int, int]:
    value, at = _read_varint(chunk, at)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(chunk: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = chunk[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number too long")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
