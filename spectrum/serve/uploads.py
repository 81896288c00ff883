"""One upload on its way to disk: framed, capped, under names of our own, gone afterwards.

A body is four bytes (the sidecar's length, lowest first), the sidecar, the image. No name that a
client sends is used. Not here: what is in the image (``answers``).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

from spectrum.config.files import parse_json
from spectrum.data.describing import size_text
from spectrum.errors import DataError

__all__ = ["DATASET", "FRAME_BYTES", "MAX_SIDECAR_BYTES", "received", "too_large"]

FRAME_BYTES: Final = 4
MAX_SIDECAR_BYTES: Final = 1024**2
DATASET: Final = "upload"
STEM: Final = "sub-01_task-upload_bold"
GZIP_MAGIC: Final = b"\x1f\x8b"
SPARE_BYTES: Final = 512 * 1024**2
"""Left free on the disk, whatever is uploaded."""


@asynccontextmanager
async def received(chunks: AsyncIterator[bytes], *, max_bytes: int) -> AsyncIterator[Path]:
    """Write an upload as a BIDS tree into a new private folder, which goes with the block.

    Parameters
    ----------
    chunks : of the body
    max_bytes : of the whole body

    Raises
    ------
    DataError
        ``too-large``, ``disk-full``, or ``no-upload`` where the body is not framed as it should
        be, or the sidecar is no JSON object.
    """
    work = Path(tempfile.mkdtemp(prefix="spectrum-serve-"))
    try:
        body = work / "body"
        await _write(chunks, body, max_bytes)
        _lay_out(body, work / DATASET)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


async def _write(chunks: AsyncIterator[bytes], body: Path, max_bytes: int) -> None:
    most = min(max_bytes, shutil.disk_usage(body.parent).free - SPARE_BYTES)
    num_bytes = 0
    with body.open("xb") as file:
        async for chunk in chunks:
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise too_large(max_bytes)
            if num_bytes > most:
                raise DataError(
                    "The disk of temporary files is too full for this upload. Free some, or set "
                    "TMPDIR to another one.",
                    code="disk-full",
                )
            file.write(chunk)


def too_large(max_bytes: int) -> DataError:
    """Return the refusal of a body beyond the limit."""
    return DataError(
        f"The upload is larger than {size_text(max_bytes)}, the most that this page takes. "
        "Start `spectrum serve` with a higher --max-mib, or use `spectrum predict`.",
        code="too-large",
    )


def _lay_out(body: Path, root: Path) -> None:
    """Cut a body into sidecar and image, without holding the image in memory."""
    func = root / "sub-01" / "func"
    func.mkdir(parents=True)
    description = {"Name": DATASET, "BIDSVersion": "1.8.0"}
    (root / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    with body.open("rb") as file:
        length = int.from_bytes(file.read(FRAME_BYTES), "little")
        sidecar = file.read(length) if length <= MAX_SIDECAR_BYTES else b""
        if len(sidecar) != length:
            raise DataError(
                f"The sidecar is cut off, or longer than {size_text(MAX_SIDECAR_BYTES)}. Choose "
                "the JSON file that lies beside the image.",
                code="no-upload",
            )
        if sidecar:
            (func / f"{STEM}.json").write_bytes(_checked(sidecar))
        _copy_image(file, func)
    body.unlink()


def _checked(sidecar: bytes) -> bytes:
    try:
        is_object = isinstance(parse_json(sidecar), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise DataError(
            "The sidecar is no JSON object. Choose the JSON file that lies beside the image.",
            code="no-upload",
        )
    return sidecar


def _copy_image(file: BinaryIO, func: Path) -> None:
    """Write what is left of the body; its first bytes say whether it is compressed."""
    start = file.tell()
    magic = file.read(len(GZIP_MAGIC))
    file.seek(start)
    suffix = ".nii.gz" if magic == GZIP_MAGIC else ".nii"
    with (func / f"{STEM}{suffix}").open("xb") as image:
        shutil.copyfileobj(file, image, 1024**2)
