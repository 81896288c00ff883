"""Digests of voxels by digests of files, remembered beside shard sets: content does not change.

Not here: what equal voxels mean (``duplicates``), and who reads the images (``pipeline``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectrum.config.frozen import FrozenConfig
from spectrum.data.images import digest_image
from spectrum.errors import ImageError

__all__ = ["LookJob", "look_at", "read_voxel_digests", "write_voxel_digests"]


class LookJob(FrozenConfig):
    """An image whose voxels nobody has looked at."""

    path: str
    """Of the image."""


def look_at(job: LookJob) -> dict[str, Any]:
    """Return the digests of an image's file and of its voxels; "" for one that is damaged."""
    try:
        digests = digest_image(Path(job.path))
    except ImageError:
        return {"path": job.path, "sha256": "", "voxels": ""}
    return {"path": job.path, "sha256": digests.sha256, "voxels": digests.voxels_sha256}


def read_voxel_digests(path: Path) -> dict[str, str]:
    """Read what is remembered; an absent or damaged file remembers nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write_voxel_digests(path: Path, found: Mapping[str, str]) -> None:
    """Add to what is remembered; nothing is written where nothing is new."""
    known = read_voxel_digests(path)
    merged = {**known, **found}
    if merged == known:
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.aside")
    aside.write_text(json.dumps(merged, sort_keys=True), encoding="utf-8")
    aside.replace(path)
