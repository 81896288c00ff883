"""One shard file as readers see it: nothing of it is trusted before its footer was compared.

A file with an Arrow schema of its own is refused before Arrow opens it, so that no extension type
is ever built; columns are a fixed list. Slices are mapped where they lie in the file as they are,
and read by Arrow where not. Not here: which files make a set, and their writing (``shards``).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spectrum.data.manifest import ShardRun
from spectrum.data.parquet_pages import PlainColumn, view_column
from spectrum.data.quality import RUN_QUALITY_NAMES, VOLUME_QUALITY_NAMES
from spectrum.errors import ShardError

__all__ = ["ENTITY_COLUMNS", "ShardFile", "check_raw_footer", "shard_schema"]

ENTITY_COLUMNS: Final = ("dataset", "subject", "session", "task", "run", "acquisition")
RUN_COLUMNS: Final = tuple(f"run_{name}" for name in RUN_QUALITY_NAMES)
"""The run's numbers, the same in each of its rows; null where unknown."""

SLICES_COLUMN: Final = len(ENTITY_COLUMNS) + 1
"""Where the slices stand among the columns: after the entities and ``volume_index``."""

BYTES_OF_VALUE: Final = 2

PARQUET_MAGIC: Final = b"PAR1"
ARROW_KEY: Final = b"ARROW:"
"""Begins the keys under which Arrow stores its schema and its extension types."""

MAX_FOOTER_BYTES: Final = 64 * 1024**2
"""A footer is never larger: 10,000 row groups of 26 columns are about 30 MB."""


def shard_schema(shape_SHW: tuple[int, int, int]) -> pa.Schema:
    """Return the columns of a shard of one shape."""
    num_bytes = int(np.prod(shape_SHW)) * BYTES_OF_VALUE
    return pa.schema(
        [
            *((name, pa.string()) for name in ENTITY_COLUMNS),
            ("volume_index", pa.int32()),
            ("slices", pa.binary(num_bytes)),
            *((name, pa.float64()) for name in VOLUME_QUALITY_NAMES),
            *((name, pa.float64()) for name in RUN_COLUMNS),
        ]
    )


class ShardFile:
    """A shard file whose footer is as it must be.

    Parameters
    ----------
    path : of the file
    shape_SHW : slices, rows, columns of its volumes

    Raises
    ------
    ShardError
        The file is cut, foreign, or has other columns.
    """

    def __init__(self, path: Path, shape_SHW: tuple[int, int, int]) -> None:
        self._path = path
        self._views: dict[int, NDArray[np.uint8]] = {}
        with _told_errors(path):
            check_raw_footer(path)
            self._metadata = pq.read_metadata(path)
            _check_footer(self._metadata, path, shape_SHW)
            with path.open("rb") as file:
                self._mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def read_row_group(self, row_group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Return some columns of a row group, or all, as Arrow reads them."""
        self._check_row_group(row_group)
        with (
            _told_errors(self._path),
            pq.ParquetFile(self._path, page_checksum_verification=True) as file,
        ):
            wanted = None if columns is None else list(columns)
            return file.read_row_group(row_group, columns=wanted, use_threads=False)

    def read_slices(self, run: ShardRun) -> NDArray[np.float16]:
        """Return the volumes of a run, (V, S, H, W), not writable; raise ShardError."""
        self._check_row_group(run.row_group)
        raw = self._views.get(run.row_group)
        if raw is None:
            raw = self._view_slices(run)
        if raw is None:
            raw = _slices(self.read_row_group(run.row_group, ("slices",)), run)
        else:
            # A view takes no memory, and a checksum that was compared need not be again.
            self._views[run.row_group] = raw
        return raw.view("<f2").reshape(run.num_volumes, *run.shape_SHW)

    def _view_slices(self, run: ShardRun) -> NDArray[np.uint8] | None:
        """Return the slices of a run as they lie in the file; None where Arrow must read them."""
        column = self._metadata.row_group(run.row_group).column(SLICES_COLUMN)
        is_plain = column.compression == "UNCOMPRESSED" and not column.has_dictionary_page
        if not is_plain or column.num_values != run.num_volumes:
            return None
        place = PlainColumn(
            begin=column.data_page_offset,
            num_bytes=column.total_compressed_size,
            num_values=run.num_volumes,
            width=int(np.prod(run.shape_SHW)) * BYTES_OF_VALUE,
        )
        return view_column(self._mapped, place, self._path)

    def _check_row_group(self, row_group: int) -> None:
        if row_group >= self._metadata.num_row_groups:
            raise ShardError(
                f"{self._path} has {self._metadata.num_row_groups} row groups; number {row_group} "
                "was asked for. The file belongs to another set; make the set again."
            )


def check_raw_footer(path: Path) -> None:
    """Refuse a file with an Arrow schema of its own, before Arrow opens it.

    Opening is enough for Arrow to build the extension types that such a schema names. The footer
    is Thrift, which writes keys as they are, so the key is found as bytes.
    """
    if not path.is_file():
        raise ShardError(f"{path} is no file. Make the set again with `spectrum prepare`.")
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if len(tail) < 8 or tail[4:] != PARQUET_MAGIC or length > min(size, MAX_FOOTER_BYTES):
            raise ShardError(
                f"{path} does not end like a Parquet file. It is cut or of another kind; "
                "make the set again with `spectrum prepare`."
            )
        file.seek(size - 8 - length)
        footer = file.read(length)
    if ARROW_KEY in footer:
        raise ShardError(
            f"{path} carries an Arrow schema of its own, where extension types could hide. "
            "Only files made by `spectrum prepare` are read; make the set again."
        )


def _check_footer(metadata: Any, path: Path, shape_SHW: tuple[int, int, int]) -> None:
    """Compare names and physical types with the list, on Parquet's own words, not Arrow's."""
    found = [
        (column.path, column.physical_type, column.length, column.logical_type.type)
        for column in (metadata.schema.column(i) for i in range(len(metadata.schema)))
    ]
    expected = [_footer_entry(field) for field in shard_schema(shape_SHW)]
    if found != expected:
        other = [entry for entry in found if entry not in expected] or found[len(expected) :]
        first = other[0] if other else "a missing column"
        raise ShardError(
            f"{path} is no shard of slices {shape_SHW}: {first} was not expected. "
            "Only files made by `spectrum prepare` are read; make the set again."
        )
    words = metadata.metadata or {}
    if words.get(b"spectrum.dtype") != b"float16":
        raise ShardError(f"{path} does not say that its slices are float16. Make the set again.")


def _footer_entry(field: pa.Field) -> tuple[str, str, int, str]:
    if pa.types.is_string(field.type):
        return field.name, "BYTE_ARRAY", 0, "STRING"
    if pa.types.is_fixed_size_binary(field.type):
        return field.name, "FIXED_LEN_BYTE_ARRAY", field.type.byte_width, "NONE"
    return field.name, "INT32" if pa.types.is_int32(field.type) else "DOUBLE", 0, "NONE"


def _slices(table: pa.Table, run: ShardRun) -> NDArray[np.uint8]:
    column = table["slices"]
    if len(column) != run.num_volumes or column.null_count:
        raise ShardError(
            f"{run.key}: row group {run.row_group} of {run.shard} has {len(column)} volumes; "
            f"the manifest says {run.num_volumes}. Make the set again with `spectrum prepare`."
        )
    width = column.type.byte_width
    chunks = [
        np.frombuffer(chunk.buffers()[1], dtype=np.uint8)[
            chunk.offset * width : (chunk.offset + len(chunk)) * width
        ]
        for chunk in column.chunks
    ]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


@contextmanager
def _told_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, MemoryError) as err:
        raise ShardError(
            f"{path} cannot be read: {' '.join(str(err).split())}. "
            "Make the set again with `spectrum prepare`."
        ) from err
