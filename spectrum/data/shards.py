"""Shards: Parquet files with one row per volume, and the set that they make.

Plain Arrow types only. A file with an Arrow schema of its own is refused before Arrow opens it, so
that no extension type is ever built, and the columns are a fixed list. One row group holds one
run, one file holds whole subjects. Not here: who makes the rows (``pipeline``), and which of them
make a sequence (``sequences``).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spectrum.config import canonical_json, fingerprint
from spectrum.data.manifest import ShardManifest, ShardRun, read_manifest
from spectrum.data.quality import RUN_QUALITY_NAMES, VOLUME_QUALITY_NAMES
from spectrum.errors import ShardError

__all__ = [
    "RunSource",
    "ShardManifest",
    "ShardRun",
    "ShardSet",
    "check_environment",
    "content_digest",
    "read_piece",
    "shard_name",
    "write_piece",
    "write_shard",
]

ENTITY_COLUMNS: Final = ("dataset", "subject", "session", "task", "run", "acquisition")
RUN_COLUMNS: Final = tuple(f"run_{name}" for name in RUN_QUALITY_NAMES)
"""The run's numbers, the same in each of its rows; null where unknown."""

PICKLE_SWITCHES: Final = "RAY_DATA_AUTOLOAD_"
"""Environment variables that begin so make Ray Data unpickle what it reads (CVE-2026-41486)."""

BYTES_OF_VALUE: Final = 2

PARQUET_MAGIC: Final = b"PAR1"
ARROW_KEY: Final = b"ARROW:"
"""Begins the keys under which Arrow stores its schema and its extension types."""

MAX_FOOTER_BYTES: Final = 64 * 1024**2
"""A footer is never larger: 10,000 row groups of 26 columns are about 30 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """Where the volumes of a run are now: a row group of a file."""

    path: str
    row_group: int


def check_environment(environ: Mapping[str, str]) -> None:
    """Refuse to go on where Ray Data was told to unpickle what it reads.

    Raises
    ------
    ShardError
        Names the switch.
    """
    is_off = {"", "0", "false", "no", "off"}
    for name in sorted(environ):
        if name.startswith(PICKLE_SWITCHES) and environ[name].strip().lower() not in is_off:
            raise ShardError(
                f"{name} is set to {environ[name]!r}, which lets Ray Data run code from the files "
                "it reads. Shards need none of it: unset it and start again."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """A finished shard set: a folder with a manifest and its Parquet files."""

    path: Path
    manifest: ShardManifest

    @classmethod
    def open(cls, path: Path) -> ShardSet:
        """Read the manifest and look whether every file is there.

        Raises
        ------
        ShardError
            The set is unfinished, foreign or damaged, or Ray Data was told to unpickle.
        """
        check_environment(os.environ)
        manifest = read_manifest(path)
        missing = sorted({run.shard for run in manifest.runs if not (path / run.shard).is_file()})
        if missing:
            raise ShardError(
                f"{path} lacks {len(missing)} of its files, first {missing[0]!r}. "
                "Make the set again with `spectrum prepare`."
            )
        return cls(path=path, manifest=manifest)

    def read_run(self, run: ShardRun) -> NDArray[np.float16]:
        """Return the volumes of one run, (V, S, H, W), not writable."""
        table = _read_row_group(self.path / run.shard, run.row_group, run.shape_SHW, ("slices",))
        return _slices(table, run)

    def read_volume_quality(self, run: ShardRun) -> dict[str, NDArray[np.float64]]:
        """Return ``fd``, ``dvars``, ``fg_mean`` and ``bg_mean`` of each volume, NaN if unknown."""
        names = VOLUME_QUALITY_NAMES
        table = _read_row_group(self.path / run.shard, run.row_group, run.shape_SHW, names)
        return {name: _floats(table, name) for name in names}

    def check_content(self) -> None:
        """Read every run and compare its content with the manifest; raise ShardError."""
        for run in self.manifest.runs:
            found = content_digest(run, self.read_run(run), self.read_volume_quality(run))
            if found != run.content_sha256:
                raise ShardError(
                    f"{run.key} in {self.path / run.shard} is not what the manifest says. "
                    "The file was changed; make the set again with `spectrum prepare`."
                )


def content_digest(
    run: ShardRun,
    slices_VSHW: NDArray[np.float16],
    volume_quality: Mapping[str, NDArray[np.float64]],
) -> str:
    """Return the SHA-256 of a run's decoded content: key, shape, volumes and their numbers."""
    head = {"key": str(run.key), "shape": list(slices_VSHW.shape), "quality": run.quality}
    digest = hashlib.sha256(canonical_json(head).encode())
    digest.update(np.ascontiguousarray(slices_VSHW, dtype="<f2").tobytes())
    for name in VOLUME_QUALITY_NAMES:
        values = np.asarray(volume_quality[name], dtype="<f8")
        digest.update(np.where(np.isnan(values), np.nan, values).tobytes())
    return digest.hexdigest()


def write_piece(
    path: Path,
    run: ShardRun,
    slices_VSHW: NDArray[np.float16],
    volume_quality: Mapping[str, NDArray[np.float64]],
) -> None:
    """Write one run as a file of its own, aside and renamed; the run's description is in it."""
    table = _table(run, slices_VSHW, volume_quality)
    with _aside(path) as aside, _writer(aside, run.shape_SHW) as writer:
        writer.write_table(table, row_group_size=run.num_volumes)
        writer.add_key_value_metadata({"spectrum.run": run.model_dump_json()})


def read_piece(path: Path) -> ShardRun | None:
    """Return the description of the run in a piece; None where it is no whole piece."""
    try:
        _check_raw_footer(path)
        metadata = pq.read_metadata(path).metadata or {}
        return ShardRun.model_validate_json(metadata[b"spectrum.run"])
    except (OSError, pa.ArrowException, KeyError, ShardError, ValueError):
        return None


def write_shard(path: Path, shape_SHW: tuple[int, int, int], sources: Sequence[RunSource]) -> None:
    """Write one file from row groups of others, one after the other, aside and renamed."""
    with _aside(path) as aside, _writer(aside, shape_SHW) as writer:
        for source in sources:
            table = _read_row_group(Path(source.path), source.row_group, shape_SHW, None)
            writer.write_table(table, row_group_size=max(1, table.num_rows))


def shard_name(runs: Sequence[ShardRun]) -> str:
    """Return the file name of a subject's shard: data set, subject, and a hash of its runs."""
    group = re.sub(r"[^A-Za-z0-9.+-]", "-", runs[0].dataset).lstrip(".-+") or "dataset"
    subject = re.sub(r"[^A-Za-z0-9.+-]", "-", runs[0].subject)
    contents = fingerprint([[str(run.key), run.fingerprint] for run in runs])
    return f"{group}_sub-{subject}_{contents[:16]}.parquet"


def _schema(shape_SHW: tuple[int, int, int]) -> pa.Schema:
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


def _table(
    run: ShardRun,
    slices_VSHW: NDArray[np.float16],
    volume_quality: Mapping[str, NDArray[np.float64]],
) -> pa.Table:
    num_volumes, *shape = slices_VSHW.shape
    if (num_volumes, *shape) != (run.num_volumes, *run.shape_SHW):
        raise ShardError(
            f"{run.key} has slices of shape {slices_VSHW.shape}; its description says "
            f"{(run.num_volumes, *run.shape_SHW)}. Both must be the same."
        )
    schema = _schema(run.shape_SHW)
    raw = pa.py_buffer(np.ascontiguousarray(slices_VSHW, dtype="<f2"))
    columns = [pa.array([getattr(run, name)] * num_volumes) for name in ENTITY_COLUMNS]
    columns.append(pa.array(np.arange(num_volumes, dtype=np.int32)))
    columns.append(
        pa.FixedSizeBinaryArray.from_buffers(schema.field("slices").type, num_volumes, [None, raw])
    )
    for name in VOLUME_QUALITY_NAMES:
        columns.append(pa.array(volume_quality[name], type=pa.float64(), from_pandas=True))
    for name in RUN_QUALITY_NAMES:
        columns.append(pa.array([run.quality.get(name)] * num_volumes, type=pa.float64()))
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    try:
        yield aside
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _writer(path: Path, shape_SHW: tuple[int, int, int]) -> pq.ParquetWriter:
    """Open a writer; without Arrow's own schema in the file there is no place for other types."""
    writer = pq.ParquetWriter(
        path,
        _schema(shape_SHW),
        compression="snappy",
        use_dictionary=list(ENTITY_COLUMNS),
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    )
    writer.add_key_value_metadata(
        {
            "spectrum.schema_version": "1",
            "spectrum.dtype": "float16",
            "spectrum.shape_SHW": json.dumps(list(shape_SHW)),
        }
    )
    return writer


def _read_row_group(
    path: Path,
    row_group: int,
    shape_SHW: tuple[int, int, int],
    columns: Sequence[str] | None,
) -> pa.Table:
    try:
        _check_raw_footer(path)
        metadata = pq.read_metadata(path)
        _check_footer(metadata, path, shape_SHW)
        if row_group >= metadata.num_row_groups:
            raise ShardError(
                f"{path} has {metadata.num_row_groups} row groups; number {row_group} was asked "
                "for. The file belongs to another set; make the set again."
            )
        file = pq.ParquetFile(path, page_checksum_verification=True)
        with file:
            wanted = None if columns is None else list(columns)
            return file.read_row_group(row_group, columns=wanted, use_threads=False)
    except (OSError, pa.ArrowException, ValueError, MemoryError) as err:
        raise ShardError(
            f"{path} cannot be read: {' '.join(str(err).split())}. "
            "Make the set again with `spectrum prepare`."
        ) from err


def _check_raw_footer(path: Path) -> None:
    """Refuse a file with an Arrow schema of its own, before Arrow opens it.

    Opening is enough for Arrow to build the extension types that such a schema names. The footer
    is Thrift, which writes keys as they are, so the key is found as bytes.
    """
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
    expected = [_footer_entry(field) for field in _schema(shape_SHW)]
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


def _slices(table: pa.Table, run: ShardRun) -> NDArray[np.float16]:
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
    raw = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    return raw.view("<f2").reshape(run.num_volumes, *run.shape_SHW)


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    values = table[name].to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)
