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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spectrum.config import canonical_json, fingerprint
from spectrum.data.manifest import ShardManifest, ShardRun, read_manifest
from spectrum.data.quality import RUN_QUALITY_NAMES, VOLUME_QUALITY_NAMES
from spectrum.data.shard_files import (
    ENTITY_COLUMNS,
    ShardFile,
    check_raw_footer,
    shard_schema,
)
from spectrum.errors import ShardError
from spectrum.owners import written_aside

__all__ = [
    "RunSource",
    "ShardManifest",
    "ShardReader",
    "ShardRun",
    "ShardSet",
    "check_environment",
    "content_digest",
    "read_piece",
    "shard_name",
    "write_piece",
    "write_shard",
]

PICKLE_SWITCHES: Final = "RAY_DATA_AUTOLOAD_"
"""Environment variables that begin so make Ray Data unpickle what it reads (CVE-2026-41486)."""


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

    def reader(self) -> ShardReader:
        """Return what reads many runs of this set, and opens each file once."""
        return ShardReader(self)

    def read_run(self, run: ShardRun) -> NDArray[np.float16]:
        """Return the volumes of one run, (V, S, H, W), not writable."""
        return self.reader().read_run(run)

    def read_volume_quality(self, run: ShardRun) -> dict[str, NDArray[np.float64]]:
        """Return ``fd``, ``dvars``, ``fg_mean`` and ``bg_mean`` of each volume, NaN if unknown."""
        names = VOLUME_QUALITY_NAMES
        file = ShardFile(self.path / run.shard, run.shape_SHW)
        table = file.read_row_group(run.row_group, names)
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


class ShardReader:
    """Reads runs of one set; may be used by several threads at once.

    A file that was opened stays mapped, so a set that is removed meanwhile can still be read.
    """

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards
        self._files: dict[str, ShardFile] = {}

    def read_run(self, run: ShardRun) -> NDArray[np.float16]:
        """Return the volumes of one run, (V, S, H, W), not writable; raise ShardError."""
        file = self._files.get(run.shard)
        if file is None:
            file = ShardFile(self._shards.path / run.shard, run.shape_SHW)
            self._files[run.shard] = file
        return file.read_slices(run)


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
    with written_aside(path) as aside, _writer(aside, run.shape_SHW) as writer:
        writer.write_table(table, row_group_size=run.num_volumes)
        writer.add_key_value_metadata({"spectrum.run": run.model_dump_json()})


def read_piece(path: Path) -> ShardRun | None:
    """Return the description of the run in a piece; None where it is no whole piece."""
    try:
        check_raw_footer(path)
        metadata = pq.read_metadata(path).metadata or {}
        return ShardRun.model_validate_json(metadata[b"spectrum.run"])
    except (OSError, pa.ArrowException, KeyError, ShardError, ValueError):
        return None


def write_shard(path: Path, shape_SHW: tuple[int, int, int], sources: Sequence[RunSource]) -> None:
    """Write one file from row groups of others, one after the other, aside and renamed."""
    with written_aside(path) as aside, _writer(aside, shape_SHW) as writer:
        for source in sources:
            table = ShardFile(Path(source.path), shape_SHW).read_row_group(source.row_group)
            writer.write_table(table, row_group_size=max(1, table.num_rows))


def shard_name(runs: Sequence[ShardRun]) -> str:
    """Return the file name of a subject's shard: data set, subject, and a hash of its runs."""
    group = re.sub(r"[^A-Za-z0-9.+-]", "-", runs[0].dataset).lstrip(".-+") or "dataset"
    subject = re.sub(r"[^A-Za-z0-9.+-]", "-", runs[0].subject)
    contents = fingerprint([[str(run.key), run.fingerprint] for run in runs])
    return f"{group}_sub-{subject}_{contents[:16]}.parquet"


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
    schema = shard_schema(run.shape_SHW)
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


def _writer(path: Path, shape_SHW: tuple[int, int, int]) -> pq.ParquetWriter:
    """Open a writer; without Arrow's own schema in the file there is no place for other types.

    Slices are not compressed, so that readers map them: Snappy makes masked float16 noise 1.7
    times smaller, and reading it 10 to 30 times slower.
    """
    schema = shard_schema(shape_SHW)
    writer = pq.ParquetWriter(
        path,
        schema,
        compression={name: "none" if name == "slices" else "snappy" for name in schema.names},
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


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    values = table[name].to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64)
