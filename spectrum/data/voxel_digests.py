"""Digests of voxels by digests of files, remembered beside shard sets: content does not change.

Not here: what equal voxels mean (``duplicates``), and who reads the images (``making``).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from spectrum.config.frozen import FrozenConfig
from spectrum.data.digests import file_state
from spectrum.data.images import digest_file, digest_image
from spectrum.data.remembered import read_entries, write_entries
from spectrum.errors import ImageError

__all__ = ["Look", "LookJob", "look_at", "read_voxel_digests", "write_voxel_digests"]


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
