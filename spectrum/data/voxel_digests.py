"""Digests of voxels by digests of files, remembered beside shard sets: content does not change.

Not here: what equal voxels mean (``duplicates``), and who reads the images (``making``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from spectrum.config.frozen import FrozenConfig
from spectrum.data.digests import DIGESTS_NAME, DigestCache, file_state
from spectrum.data.echoes import joined_digest
from spectrum.data.images import digest_file, digest_image
from spectrum.data.remembered import read_entries, write_entries
from spectrum.entities import RunKey
from spectrum.errors import ImageError

__all__ = [
    "VOXELS_NAME",
    "Look",
    "LookJob",
    "look_at",
    "measure_voxels",
    "read_voxel_digests",
    "voxels_of_run",
    "write_voxel_digests",
]

VOXELS_NAME: Final = "voxels.json"
"""File of a shards folder that remembers the digests of voxels."""

NUM_READERS: Final = 4
"""Threads that read images; decompressing and hashing leave the interpreter to each other."""


class LookJob(FrozenConfig):
    """An image whose voxels nobody has looked at."""

    path: str
    """Of the image."""


class Look(FrozenConfig):
    """What one reading of an image gave."""

    path: str
    """Of the image."""

    digest: tuple[int, int, str] | None
    """Size, time of change and SHA-256 of the file; None where it cannot be read."""

    voxels: str
    """Digest of the voxels; "" where the image is damaged."""


def look_at(job: LookJob) -> Look:
    """Return the digests of an image's file and of its voxels; a sound one is read once."""
    path = Path(job.path)
    state = file_state(path)
    sha256 = voxels = ""
    try:
        digests = digest_image(path)
        sha256, voxels = digests.sha256, digests.voxels_sha256
    except ImageError:
        with suppress(OSError):
            sha256 = digest_file(path)
    is_read = state is not None and sha256
    return Look(
        path=job.path, digest=(*state, sha256) if state and is_read else None, voxels=voxels
    )


def read_voxel_digests(path: Path) -> dict[str, str]:
    """Read what is remembered; "" stands for an image that ended its readers."""
    return read_entries(path, str)


def write_voxel_digests(path: Path, found: Mapping[str, str]) -> None:
    """Add to what is remembered; nothing is written where nothing is new."""
    write_entries(path, found, str)


def voxels_of_run(sha256s: Sequence[str], voxels_of: Mapping[str, str]) -> str:
    """Return one digest for the images of a run; "" where one of them cannot be read."""
    found = [voxels_of.get(sha256, "") for sha256 in sha256s]
    if not all(found):
        return ""
    return found[0] if len(found) == 1 else joined_digest(found)


def measure_voxels(
    images: Mapping[RunKey, Sequence[Path]], shards_root: Path
) -> dict[RunKey, str]:
    """Return the digest of the voxels of each run, reading images that are not known, once.

    Parameters
    ----------
    images : absolute paths of each run, one an echo
    shards_root : its files remember what was read; made where it is not there

    Returns
    -------
    digests : "" where an image is missing or damaged
    """
    shards_root.mkdir(parents=True, exist_ok=True)
    cache = DigestCache.read(shards_root / DIGESTS_NAME)
    voxels_of = read_voxel_digests(shards_root / VOXELS_NAME)
    paths = sorted({path for several in images.values() for path in several})
    todo = [LookJob(path=str(path)) for path in paths if cache.find(path) not in voxels_of]
    with ThreadPoolExecutor(NUM_READERS) as pool:
        for look in pool.map(look_at, todo):
            if look.digest is not None:
                cache.remember({look.path: look.digest})
                voxels_of.update({look.digest[2]: look.voxels} if look.voxels else {})
    cache.write_new()
    write_voxel_digests(shards_root / VOXELS_NAME, voxels_of)
    return {
        key: voxels_of_run([cache.find(path) or "" for path in several], voxels_of)
        for key, several in images.items()
    }
