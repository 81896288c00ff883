"""Shards: they read back bit for bit, and nothing that Spectrum did not write is read."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.manifest import (
    MANIFEST_NAME,
    ShardManifest,
    content_hash,
    read_manifest,
    write_manifest,
)
from spectrum.data.quality import RUN_QUALITY_NAMES, VOLUME_QUALITY_NAMES
from spectrum.data.runs import Event
from spectrum.data.shards import (
    RunSource,
    ShardRun,
    ShardSet,
    check_environment,
    content_digest,
    read_piece,
    shard_name,
    write_piece,
    write_shard,
)
from spectrum.errors import ShardError

SHAPE = (3, 5, 4)
COLUMNS = [
    "dataset", "subject", "session", "task", "run", "acquisition", "volume_index", "slices",
    "fd", "dvars", "fg_mean", "bg_mean",
    "run_num_slices", "run_num_volumes", "run_voxel_x_mm", "run_voxel_y_mm", "run_voxel_z_mm",
    "run_fg_mean", "run_fg_sd", "run_bg_mean", "run_bg_sd", "run_efc", "run_gsr", "run_tsnr",
    "run_fd_mean", "run_dvars_mean", "run_template_dice", "run_template_coverage",
]  # fmt: skip


def _run(number: int, num_volumes: int, **changes: Any) -> ShardRun:
    fields: dict[str, Any] = {
        "dataset": "ds 1",
        "subject": "01",
        "task": "rest",
        "run": str(number),
        "num_volumes": num_volumes,
        "tr_s": 2.0,
        "voxel_mm": (3.0, 3.5, 4.0),
        "source_shape": (7, 8, 9, num_volumes),
        "shape_SHW": SHAPE,
        "image_sha256": f"{number:064x}",
        "fingerprint": f"{number + 100:064x}",
        "content_sha256": "",
        "quality": {name: 1.5 * i if i % 3 else None for i, name in enumerate(RUN_QUALITY_NAMES)},
        "events": (Event(onset_s=1.5, duration_s=0.0, trial_type="face"),),
    }
    return ShardRun.model_validate({**fields, **changes})


def _slices(num_volumes: int, seed: int) -> NDArray[np.float16]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_volumes, *SHAPE)).astype(np.float16)


def _volume_quality(num_volumes: int) -> dict[str, NDArray[np.float64]]:
    values = np.arange(num_volumes, dtype=np.float64)
    values[0] = np.nan
    return {name: values + i for i, name in enumerate(VOLUME_QUALITY_NAMES)}


def _write_set(folder: Path, sizes: tuple[int, ...] = (11, 1, 20)) -> ShardSet:
    pieces = folder.parent / "pieces"
    pieces.mkdir(parents=True)
    folder.mkdir()
    runs = []
    for number, size in enumerate(sizes):
        run = _run(number, size)
        slices, quality = _slices(size, number), _volume_quality(size)
        digest = content_digest(run, slices, quality)
        run = run.model_copy(update={"content_sha256": digest})
        write_piece(pieces / f"{number}.parquet", run, slices, quality)
        runs.append(run)
    name = shard_name(runs)
    placed = tuple(
        run.model_copy(update={"shard": name, "row_group": i}) for i, run in enumerate(runs)
    )
    sources = [
        RunSource(path=str(pieces / f"{i}.parquet"), row_group=0) for i in range(len(sizes))
    ]
    write_shard(folder / name, SHAPE, sources)
    manifest = ShardManifest(
        recipe=PreprocessingConfig(),
        fingerprint="ab",
        inputs="cd",
        shape_SHW=SHAPE,
        runs=placed,
        num_volumes=sum(sizes),
        content_hash=content_hash(placed, SHAPE),
    )
    write_manifest(manifest, folder)
    return ShardSet.open(folder)


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    return _write_set(tmp_path / "set")


def _file(shards: ShardSet) -> Path:
    return shards.path / shards.manifest.runs[0].shard


def test_volumes_and_their_numbers_come_back_bit_for_bit(shards: ShardSet) -> None:
    for number, run in enumerate(shards.manifest.runs):
        slices = shards.read_run(run)
        assert slices.dtype == np.float16
        np.testing.assert_array_equal(slices, _slices(run.num_volumes, number))
        found = shards.read_volume_quality(run)
        assert tuple(found) == VOLUME_QUALITY_NAMES
        for name, values in _volume_quality(run.num_volumes).items():
            np.testing.assert_array_equal(found[name], values)
    shards.check_content()
    assert read_manifest(shards.path) == shards.manifest


def test_slices_are_a_view_of_the_file_and_stay_good_when_it_is_removed(shards: ShardSet) -> None:
    reader = shards.reader()
    run = shards.manifest.runs[0]
    slices = reader.read_run(run)
    assert not slices.flags.owndata
    assert not slices.flags.writeable
    _file(shards).unlink()
    np.testing.assert_array_equal(slices, _slices(run.num_volumes, 0))
    np.testing.assert_array_equal(reader.read_run(run), slices)


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_a_file_with_compressed_slices_reads_the_same(shards: ShardSet, compression: str) -> None:
    before = [shards.read_run(run).copy() for run in shards.manifest.runs]
    file = pq.ParquetFile(_file(shards))
    tables = [file.read_row_group(i) for i in range(file.num_row_groups)]
    words = {key.decode(): word.decode() for key, word in file.metadata.metadata.items()}
    with pq.ParquetWriter(
        _file(shards), tables[0].schema, compression=compression, store_schema=False
    ) as writer:
        for table in tables:
            writer.write_table(table)
        writer.add_key_value_metadata(words)
    for run, slices in zip(shards.manifest.runs, before, strict=True):
        np.testing.assert_array_equal(shards.read_run(run), slices)
    shards.check_content()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_bit_that_flipped_in_the_slices_is_found(shards: ShardSet, share: float) -> None:
    run = shards.manifest.runs[2]
    column = pq.read_metadata(_file(shards)).row_group(2).column(COLUMNS.index("slices"))
    content = bytearray(_file(shards).read_bytes())
    content[column.data_page_offset + 40 + int(share * 2 * 20 * 60)] ^= 16
    _file(shards).write_bytes(bytes(content))
    with pytest.raises(ShardError, match="cannot be read: a page is not what its checksum says"):
        shards.read_run(run)


def test_the_layout_is_one_row_a_volume_one_row_group_a_run_and_plain_types(
    shards: ShardSet,
) -> None:
    metadata = pq.read_metadata(_file(shards))
    runs = shards.manifest.runs
    assert [metadata.row_group(i).num_rows for i in range(3)] == [run.num_volumes for run in runs]
    schema = pq.read_schema(_file(shards))
    assert schema.names == COLUMNS
    assert {str(t) for t in schema.types} == {
        "string",
        "int32",
        "double",
        f"fixed_size_binary[{2 * 3 * 5 * 4}]",
    }
    assert json.loads(metadata.metadata[b"spectrum.shape_SHW"]) == [3, 5, 4]
    assert metadata.metadata[b"spectrum.dtype"] == b"float16"
    rows = pq.read_table(_file(shards)).to_pylist()
    assert [row["volume_index"] for row in rows] == [*range(11), 0, *range(20)]
    assert rows[0]["dataset"] == "ds 1"
    assert rows[0]["fd"] is None
    quality = runs[0].quality
    assert {name: rows[3][f"run_{name}"] for name in RUN_QUALITY_NAMES} == quality


def test_a_file_name_carries_data_set_subject_and_runs() -> None:
    runs = [_run(0, 11), _run(1, 3)]
    assert shard_name(runs).startswith("ds-1_sub-01_")
    names = {
        shard_name(runs),
        shard_name(runs[:1]),
        shard_name(runs[::-1]),
        shard_name([_run(0, 11, fingerprint="ff"), runs[1]]),
        shard_name([_run(0, 11, subject="02"), runs[1]]),
    }
    assert len(names) == 5
    assert _run(0, 11, shard=shard_name([_run(0, 11, dataset="../..", subject="a b")])).shard


def test_the_content_hash_knows_volumes_numbers_events_and_tr() -> None:
    run = _run(0, 11)
    slices, quality = _slices(11, 0), _volume_quality(11)
    other = slices.copy()
    other[10, 2, 4, 3] += np.float16(0.5)
    later = {**quality, "dvars": quality["dvars"] + 1.0}
    digests = {
        content_digest(run, slices, quality),
        content_digest(run, other, quality),
        content_digest(run, slices, later),
        content_digest(_run(1, 11), slices, quality),
    }
    assert len(digests) == 4
    sets = [(run,), (_run(0, 11, tr_s=2.5),), (_run(0, 11, events=()),)]
    assert len({content_hash(runs, SHAPE) for runs in sets}) == 3
    assert content_hash((run,), SHAPE) == content_hash((_run(0, 11, shard="a.parquet"),), SHAPE)


def test_a_piece_knows_its_run_and_half_a_piece_does_not(tmp_path: Path) -> None:
    path = tmp_path / "piece.parquet"
    write_piece(path, _run(4, 11), _slices(11, 4), _volume_quality(11))
    assert read_piece(path) == _run(4, 11)
    path.write_bytes(path.read_bytes()[:-20])
    assert read_piece(path) is None
    assert read_piece(tmp_path / "none.parquet") is None
    assert list(tmp_path.iterdir()) == [path]


def test_slices_that_contradict_their_description_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"\(11, 3, 5, 4\).*\(12, 3, 5, 4\)"):
        write_piece(tmp_path / "a.parquet", _run(0, 12), _slices(11, 0), _volume_quality(11))
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_an_error_or_changes_nothing(shards: ShardSet) -> None:
    raw = _file(shards).read_bytes()
    rng = np.random.default_rng(3)
    caught = 0
    for position in rng.integers(0, 8 * len(raw), 300):
        damaged = bytearray(raw)
        damaged[position // 8] ^= 1 << (position % 8)
        _file(shards).write_bytes(damaged)
        try:
            shards.check_content()
        except ShardError:
            caught += 1
    assert caught > 150
    _file(shards).write_bytes(raw)
    shards.check_content()


def test_other_volumes_under_the_same_name_are_noticed(shards: ShardSet, tmp_path: Path) -> None:
    other = _write_set(tmp_path / "other" / "set", (11, 1, 20))
    run = other.manifest.runs[0]
    write_piece(tmp_path / "p.parquet", run, _slices(11, 99), _volume_quality(11))
    sources = [RunSource(path=str(tmp_path / "p.parquet"), row_group=0)]
    sources += [RunSource(path=str(_file(other)), row_group=i) for i in (1, 2)]
    write_shard(_file(shards), SHAPE, sources)
    with pytest.raises(ShardError, match="not what the manifest says"):
        shards.check_content()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(num_volumes=33),
        lambda m: m.update(shape_SHW=[3, 5, 5]),
        lambda m: m.update(content_hash="0" * 64),
        lambda m: m["runs"].pop(),
        lambda m: m["runs"][0].update(content_sha256="0" * 64),
        lambda m: m["runs"][0].update(shard="../../etc/passwd.parquet"),
        lambda m: m["runs"][0].update(shard="/etc/passwd"),
        lambda m: m.update(schema_version=2),
        lambda m: m.update(extra=1),
    ],
)
def test_a_manifest_that_was_changed_is_refused(shards: ShardSet, change: Any) -> None:
    path = shards.path / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ShardError, match="spectrum prepare"):
        ShardSet.open(shards.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}'])
def test_a_manifest_that_is_none_is_refused(shards: ShardSet, text: str) -> None:
    (shards.path / MANIFEST_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(ShardError, match="no manifest of this version"):
        ShardSet.open(shards.path)


def test_a_set_without_manifest_or_without_a_file_is_refused(shards: ShardSet) -> None:
    _file(shards).unlink()
    with pytest.raises(ShardError, match="lacks 1 of its files"):
        ShardSet.open(shards.path)
    (shards.path / MANIFEST_NAME).unlink()
    with pytest.raises(ShardError, match="no finished shard set"):
        ShardSet.open(shards.path)


class _Touch:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def _evil_table(shards: ShardSet, kind: str, touched: Path) -> pa.Table:
    """The set's own table, with one column that carries a pickle, or a type nobody knows."""
    payload = pickle.dumps(_Touch(touched))
    table = pq.read_table(_file(shards))
    at = table.schema.get_field_index("slices")
    name = {"tensor": "ray.data.arrow_tensor", "object": "ray.data.arrow_pickled_object"}
    word = name.get(kind, "evil.unknown").encode()
    field = pa.field(
        "slices",
        table.schema.field(at).type,
        metadata={b"ARROW:extension:name": word, b"ARROW:extension:metadata": payload},
    )
    if kind == "object":
        column = pa.array([payload] * table.num_rows, pa.binary())
        field = pa.field("slices", pa.binary(), metadata=field.metadata)
        return table.set_column(at, field, column)
    return table.set_column(at, field, table["slices"].combine_chunks())


@pytest.mark.parametrize("kind", ["tensor", "object", "unknown"])
@pytest.mark.parametrize("with_ray_data", [False, True])
def test_extension_types_are_refused_before_they_are_looked_at(
    shards: ShardSet, tmp_path: Path, kind: str, with_ray_data: bool
) -> None:
    touched = tmp_path / "touched"
    table = _evil_table(shards, kind, touched)
    keys = {"spectrum.dtype": "float16"}
    with pq.ParquetWriter(_file(shards), table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(keys)
    if with_ray_data:
        import ray.data  # noqa: F401
    for read in (shards.read_run, shards.read_volume_quality):
        with pytest.raises(ShardError, match=r"extension types could hide|not expected"):
            read(shards.manifest.runs[0])
    assert not touched.exists()


@pytest.mark.parametrize("change", ["fewer", "renamed", "other type", "wider"])
def test_columns_that_are_not_on_the_list_are_refused(shards: ShardSet, change: str) -> None:
    table = pq.read_table(_file(shards))
    if change == "fewer":
        table = table.drop_columns(["run_gsr"])
    elif change == "renamed":
        table = table.rename_columns([n if n != "fd" else "FD" for n in table.column_names])
    elif change == "other type":
        at = table.schema.get_field_index("fd")
        table = table.set_column(at, "fd", table["fd"].cast(pa.float32()))
    else:
        table = table.append_column("more", pa.array([1] * table.num_rows))
    pq.write_table(table, _file(shards), store_schema=False)
    with pytest.raises(ShardError, match="not expected"):
        shards.read_run(shards.manifest.runs[0])


@pytest.mark.parametrize(
    "switch",
    [
        "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
        "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
        "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
    ],
)
def test_switches_that_let_ray_unpickle_stop_everything(
    shards: ShardSet, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ShardError, match=switch):
        check_environment({switch: "1"})
    check_environment({switch: "0", "PATH": "/bin"})
    monkeypatch.setenv(switch, "1")
    with pytest.raises(ShardError, match="unset it"):
        ShardSet.open(shards.path)
