"""Tables, images and names that were made to harm whoever reads them, each beside its reader."""

from __future__ import annotations

import asyncio
import io
import json
import pickle
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from spectrum.cli import main
from spectrum.config import TrialConfig
from spectrum.data.bids import index_bids
from spectrum.data.download.names import refuse_unsafe
from spectrum.data.events import read_events
from spectrum.data.image_check import check_images
from spectrum.data.shard_files import ShardFile
from spectrum.errors import DataError
from spectrum.serve.uploads import received
from tests.bad_images import HEADERS, NAMED_AS_IMAGES, STREAMS
from tests.faults.hostile_bytes import (
    ESCAPE,
    Case,
    Touch,
    Write,
    device,
    just,
    pickled,
    pipe,
    sparse,
    torch_file,
)
from tests.tiny_bids import TASK, write_tiny_bids

__all__ = ["image_cases", "name_cases", "table_cases"]

SHAPE = (3, 5, 4)
IMAGES = (
    "device", "pipe", "link to itself", "bomb after the voxels", "bomb of 4 GiB",
    "sparse file of 16 GiB", "side of 32767", "sides beyond memory", "voxels far away",
    "voxels before the file", "voxels at NaN", "text",
)  # fmt: skip
"""Of the bad images those that want memory, time, or what is not theirs."""


def _typed(name: bytes) -> Write:
    """Write a Parquet file whose column says that it is of an extension type with a pickle."""

    def write(path: Path, canary: Path) -> Path:
        payload = pickle.dumps(Touch(canary))
        words = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": payload}
        field = pa.field("slices", pa.binary(), metadata=words)
        table = pa.table([pa.array([payload], pa.binary())], schema=pa.schema([field]))
        pq.write_table(table, path)
        return path

    return write


def _noted(key: str) -> Write:
    """Write a Parquet file that has a pickle among its notes, and no Arrow schema."""

    def write(path: Path, canary: Path) -> Path:
        schema = pa.schema([("slices", pa.binary())], metadata={key: pickle.dumps(Touch(canary))})
        with pq.ParquetWriter(path, schema, store_schema=False) as writer:
            writer.add_key_value_metadata({key: pickle.dumps(Touch(canary)).hex()})
        return path

    return write


PARQUET: dict[str, Write] = {
    "Ray's tensor type": _typed(b"ray.data.arrow_tensor"),
    "Ray's object type": _typed(b"ray.data.arrow_pickled_object"),
    "Arrow's Python type": _typed(b"arrow.py_extension_type"),
    "an unknown type": _typed(b"evil.unknown"),
    "pandas' notes": _noted("pandas"),
    "a pickle": pickled,
    "torch.save": torch_file,
    "a footer of 4 GiB": just(b"PAR1" + b"\xff\xff\xff\xffPAR1"),
    "a footer before the file": just(b"PAR1" + struct.pack("<I", 2**20) + b"PAR1"),
    "a footer that is none": just(b"PAR1" + bytes(64) + struct.pack("<I", 64) + b"PAR1"),
    "an encrypted footer": just(b"PARE" + bytes(64) + struct.pack("<I", 64) + b"PARE"),
    "8 GiB": sparse,
    "a pipe": pipe,
    "a device": device,
}

ONSETS = b"onset\tduration\ttrial_type\n"
EVENTS: dict[str, Write] = {
    "a pickle": pickled,
    "a formula": just(ONSETS + b"=cmd|'/C calc'!A0\t1\tx\n"),
    "a formula as a name": just(ONSETS + b"1\t1\t=cmd|'touch CANARY'!A0\n"),
    "an onset of 1e999": just(ONSETS + b"1e999\t1\tx\n"),
    "an onset of 100,000 digits": just(ONSETS + b"9" * 100_000 + b"\t1\tx\n"),
    "code as an onset": just(ONSETS + b"__import__('os')\t1\tx\n"),
    "escape sequences": just(ONSETS + b"1\t1\t" + ESCAPE.encode() + b"\n"),
    "100,000 columns": just(b"\t".join(b"c%d" % n for n in range(100_000)) + b"\n"),
    "zero bytes": just(bytes(4096)),
    "8 GiB": sparse,
    "a pipe": pipe,
    "a device": device,
}


def table_cases() -> Iterator[Case]:
    for name, write in PARQUET.items():
        yield Case(f"Parquet: {name}", "shards", partial(_shard, write))
    for name, write in EVENTS.items():
        yield Case(f"TSV: {name}", "events", lambda f, c, w=write: read_events(w(f / "e.tsv", c)))
    for beside in ("dataset_description.json", f"task-{TASK}_bold.json", "participants.tsv"):
        for name, write in {"8 GiB": sparse, "a pipe": pipe, "a device": device}.items():
            yield Case(f"BIDS: {beside} is {name}", "inspect", partial(_beside, beside, write))


def _shard(write: Write, folder: Path, canary: Path) -> Any:
    return ShardFile(write(folder / "x.parquet", canary), SHAPE).read_row_group(0)


def _beside(name: str, write: Write, folder: Path, canary: Path) -> Any:
    root = _tree(folder)
    (root / name).unlink(missing_ok=True)
    write(root / name, canary)
    return _inspected(root)


def _tree(folder: Path) -> Path:
    root = folder / "tree"
    write_tiny_bids(root)
    return root


def image_cases() -> Iterator[Case]:
    known = {image.kind: image for image in (*NAMED_AS_IMAGES, *STREAMS, *HEADERS)}
    for kind in IMAGES:
        yield Case(f"NIfTI: {kind}", "BIDS tree", partial(_image, known[kind]))
        if kind not in ("device", "pipe", "link to itself", "sparse file of 16 GiB"):
            yield Case(f"NIfTI: {kind}", "serve", partial(_uploaded_image, known[kind]))
    for name, body in UPLOADS.items():
        yield Case(f"upload: {name}", "serve", partial(_upload, body))


UPLOADS: dict[str, bytes] = {
    "nothing": b"",
    "a sidecar of 4 GiB": struct.pack("<I", 2**32 - 1) + b"{}",
    "a sidecar 100,000 deep": struct.pack("<I", 200_000) + b"[" * 200_000,
    "a sidecar that is no object": struct.pack("<I", 3) + b"[1]",
    "a pickled sidecar": struct.pack("<I", 6) + b"\x80\x04\x95\x00\x00.",
    "a pickled image": struct.pack("<I", 0) + b"\x80\x04\x95\x00\x00.",
    "more than allowed": struct.pack("<I", 0) + bytes(2**21),
}


def _image(image: Any, folder: Path, canary: Path) -> Any:
    made = image.write(_fresh(folder / "made"))
    func = _fresh(folder / "tree/sub-01/func")
    name = "".join(made.suffixes)
    made.rename(func / f"sub-01_task-x_bold{name}")
    description = {"Name": "x", "BIDSVersion": "1.8.0"}
    (folder / "tree/dataset_description.json").write_text(json.dumps(description))
    return _usable(folder / "tree")


def _uploaded_image(image: Any, folder: Path, canary: Path) -> Any:
    return _upload(struct.pack("<I", 0) + image.write(_fresh(folder / "made")).read_bytes())


def _fresh(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _upload(body: bytes, *places: Path) -> Any:
    """Receive a body as ``spectrum serve`` does, and read its image to the end."""

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    async def take() -> Any:
        async with received(chunks(), max_bytes=2**20) as work:
            return _usable(work / "upload")

    return asyncio.run(take())


def _usable(root: Path) -> Any:
    """Index a tree and read its images; raise the sentences where no run can be used."""
    table = check_images(index_bids([root], TrialConfig().data), num_processes=1)
    if not any(run.is_usable for run in table.runs):
        raise DataError(" ".join(problem.message for problem in table.problems))
    return table


NAMES: dict[str, bytes] = {
    "a new line": b"sub-01\n_task-x_bold.nii.gz",
    "escape sequences": f"sub-01{ESCAPE}_task-x_bold.nii.gz".encode(),
    "a leading dash": b"-rf_task-x_bold.nii.gz",
    "two dots": b"sub-.._task-.._bold.nii.gz",
    "a command": b"sub-01_task-$(touch CANARY)_bold.nii.gz",
    "a command after a semicolon": b"sub-01_task-x;touch CANARY;_bold.nii.gz",
    "markup": b"sub-01_task-[red]x[_bold.nii.gz",
    "HTML": b"sub-01_task-<script>alert(1)<_bold.nii.gz",
    "no UTF-8": b"sub-01_task-\xff\xfe_bold.nii.gz",
    "text from right to left": "sub-01_task-\u202egnp_bold.nii.gz".encode(),
    "a format": b"sub-01_task-{0.__class__}%s%n_bold.nii.gz",
}

UNSAFE = (
    "../x.json", "/etc/passwd", "x\n.json", f"{ESCAPE}.json", ".git/hooks/post-checkout",
    "..\\x.json", "C:/x.json", "x\0.json", "a" * 256,
)  # fmt: skip


def name_cases() -> Iterator[Case]:
    for name, raw in NAMES.items():
        yield Case(f"file name: {name}", "inspect", partial(_file_name, raw))
        yield Case(f"folder name: {name}", "inspect", partial(_folder_name, raw))
    for text in (f"x{ESCAPE}", "../../x", "-rf", "[red]x", "x" * 100_000):
        yield Case(f"Name of a data set: {text[:20]!a}", "inspect", partial(_titled, text))
    for path in UNSAFE:
        yield Case(f"name of a server: {path[:20]!a}", "download", partial(_served, path))


def _file_name(raw: bytes, folder: Path, canary: Path) -> Any:
    root = _tree(folder)
    image = next(root.glob("sub-01/func/*bold.nii.gz"))
    # A slash would make a folder of the name.
    name = raw.replace(b"CANARY", canary.name.encode())
    target = bytes(root / "sub-01/func") + b"/" + name
    Path(target.decode(errors="surrogateescape")).write_bytes(image.read_bytes())
    return _inspected(root)


def _folder_name(raw: bytes, folder: Path, canary: Path) -> Any:
    root = folder / raw.replace(b"CANARY", canary.name.encode()).decode(errors="surrogateescape")
    write_tiny_bids(root)
    return _inspected(root)


def _titled(text: str, folder: Path, canary: Path) -> Any:
    root = _tree(folder)
    description = {"Name": text, "BIDSVersion": "1.8.0", "DatasetDOI": text}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return _inspected(root)


def _inspected(root: Path) -> str:
    """Run ``spectrum inspect`` on a tree; raise where it broke, or a terminal would obey it."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    code: Any = 0
    with redirect_stdout(shown), redirect_stderr(shown):
        try:
            main(["inspect", str(root)])
        except SystemExit as err:
            code = err.code
        shown.flush()
    told = cast(io.BytesIO, shown.buffer).getvalue().decode()
    if "\x1b" in told or "\x07" in told:
        raise AssertionError("escape sequences reach the terminal")
    if code:
        raise DataError(told[-200:])
    return told


def _served(path: str, folder: Path, canary: Path) -> None:
    refused = refuse_unsafe([path])
    if refused:
        raise DataError(refused[0].message)
