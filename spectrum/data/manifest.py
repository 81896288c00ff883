"""What a shard set says of itself: its recipe, its runs, what was refused, its content hash.

Not here: the Parquet files (``shards``).
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError

from spectrum.config import PreprocessingConfig, canonical_json, fingerprint
from spectrum.config.files import read_file
from spectrum.config.frozen import FrozenConfig
from spectrum.data.runs import Event
from spectrum.entities import RunKey
from spectrum.errors import ShardError

__all__ = [
    "MANIFEST_NAME",
    "Refusal",
    "RunFinding",
    "ShardManifest",
    "ShardRun",
    "content_hash",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME: Final = "manifest.json"
SCHEMA_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 256 * 1024**2
"""A manifest is never larger: 1000 runs with 1000 events each are about 60 MB."""

_FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.parquet$")


def _check_file_name(name: str) -> str:
    if name and not _FILE_NAME.match(name):
        raise ValueError(f"{name!r} is no plain file name ending in .parquet")
    return name


class Refusal(FrozenConfig):
    """A run that is not in the set, and why."""

    code: str
    """Kebab-case word for the kind of problem."""

    path: str
    """The file at fault."""

    message: str
    """What was found, what was expected, what to do."""


class RunFinding(FrozenConfig):
    """Something odd about a run that is used all the same."""

    code: str
    """Kebab-case word for the kind of finding."""

    message: str
    """What was found, and what it means."""


class ShardRun(FrozenConfig):
    """One run of a shard set, and where its volumes are."""

    dataset: str
    """Name of the data set."""

    subject: str
    """BIDS ``sub`` without prefix."""

    session: str = ""
    """BIDS ``ses``, or empty."""

    task: str
    """BIDS ``task``."""

    run: str = ""
    """BIDS ``run`` as the file name has it, or empty."""

    acquisition: str = ""
    """Further entities of the file name, or empty."""

    shard: Annotated[str, AfterValidator(_check_file_name)] = ""
    """File name within the set; empty while the run stands in no set."""

    row_group: int = Field(default=0, ge=0)
    """Row group of the file that holds this run and nothing else."""

    num_volumes: int = Field(ge=1)
    """Volumes V kept by the recipe."""

    tr_s: float = Field(gt=0.0)
    """Seconds between the starts of two volumes."""

    voxel_mm: tuple[float, float, float]
    """Voxel of the image as scanned, millimetres."""

    source_shape: tuple[int, int, int, int]
    """X, Y, Z and volumes of the image as scanned."""

    shape_SHW: tuple[int, int, int]
    """Slices, rows and columns of a volume after the recipe."""

    affine: tuple[tuple[float, float, float, float], ...] | None = None
    """Rows of the way from indices X, Y, Z after the recipe to millimetres; None in sets that an
    earlier version made."""

    image_sha256: str
    """Digest of the image file."""

    voxels_sha256: str = ""
    """Digest of the image's voxels, the same for a copy that was renamed or compressed again."""

    findings: tuple[RunFinding, ...] = ()
    """What is odd about the image, though usable."""

    person: str = ""
    """First name (data set and subject) of a person with several; empty for all others."""

    fingerprint: str
    """Names the result of the recipe on this run."""

    content_sha256: str
    """Digest of the decoded volumes and of the numbers beside them."""

    scale: float = Field(default=1.0, gt=0.0)
    """The recipe's values are the stored ones times this; other than 1 only for scanner units."""

    quality: dict[str, float | None]
    """Numbers of the raw run by name, None where unknown."""

    events: tuple[Event, ...] = ()
    """Events; onsets count from the first volume kept, in seconds."""

    @property
    def key(self) -> RunKey:
        """Which BIDS run this is."""
        return RunKey(
            dataset=self.dataset,
            subject=self.subject,
            session=self.session,
            task=self.task,
            run=self.run,
            acquisition=self.acquisition,
        )


class ShardManifest(FrozenConfig):
    """All of a shard set but the volumes."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Version of this file and of the Parquet layout."""

    recipe: PreprocessingConfig
    """The recipe that made the volumes."""

    fingerprint: str
    """Of the recipe and of the versions of its steps."""

    inputs: str
    """Fingerprint of what went in: runs, images, events, masks, confounds."""

    shape_SHW: tuple[int, int, int]
    """Slices, rows and columns of every volume."""

    dtype: Literal["float16"] = "float16"
    """Kind of the stored values, little-endian."""

    runs: tuple[ShardRun, ...]
    """In the order of their keys."""

    refused: tuple[Refusal, ...] = ()
    """Runs that are not here, in the order of their keys."""

    num_volumes: int
    """Volumes of all runs."""

    content_hash: str
    """Over the decoded content; the same however the work was spread."""


def content_hash(runs: tuple[ShardRun, ...], shape_SHW: tuple[int, int, int]) -> str:
    """Return the digest of what a set holds: volumes, their numbers, TR and events of each run."""
    contents = [
        [str(run.key), run.content_sha256, run.tr_s, [asdict(event) for event in run.events]]
        for run in runs
    ]
    return fingerprint({"shape": list(shape_SHW), "dtype": "float16", "runs": contents})


def read_manifest(folder: Path) -> ShardManifest:
    """Read the manifest of a shard set; raise ShardError unless it is whole and ours."""
    path = folder / MANIFEST_NAME
    try:
        text = read_file(path, max_bytes=MAX_MANIFEST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ShardError(
            f"{folder} is no finished shard set: {path.name} cannot be read ({err}). "
            "Make it with `spectrum prepare`."
        ) from err
    try:
        manifest = ShardManifest.model_validate_json(text)
    except ValidationError as err:
        first: Any = err.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ShardError(
            f"{path} is no manifest of this version: {where}: {first['msg']}. "
            "Make the set again with `spectrum prepare`."
        ) from err
    _check_sums(manifest, path)
    return manifest


def _check_sums(manifest: ShardManifest, path: Path) -> None:
    volumes = sum(run.num_volumes for run in manifest.runs)
    shapes = {run.shape_SHW for run in manifest.runs} | {manifest.shape_SHW}
    is_same = content_hash(manifest.runs, manifest.shape_SHW) == manifest.content_hash
    if volumes != manifest.num_volumes or len(shapes) != 1 or not is_same:
        raise ShardError(
            f"{path} contradicts itself: its runs do not add up to its volumes, shape or content "
            "hash. It was changed by hand or damaged; make the set again with `spectrum prepare`."
        )


def write_manifest(manifest: ShardManifest, folder: Path) -> None:
    """Write the manifest aside and rename it, so that it is there whole or not at all."""
    aside = folder / f".{MANIFEST_NAME}.aside"
    aside.write_text(canonical_json(manifest.model_dump(mode="json")) + "\n", encoding="utf-8")
    aside.replace(folder / MANIFEST_NAME)
