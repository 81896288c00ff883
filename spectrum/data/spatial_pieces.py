"""The spatial part of a run on disk: made once, whatever follows it, by one maker at a time.

A file of safetensors, named by the fingerprint of image, steps and versions; whole or not there.
Not here: what the spatial part is (``spatial``), and what is made from it (``pieces``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from spectrum.config.frozen import FrozenConfig
from spectrum.data.grids import Grid
from spectrum.data.manifest import RunFinding
from spectrum.data.quality import RunQuality
from spectrum.data.single_flight import single_flight
from spectrum.data.spatial import SpatialResult
from spectrum.owners import remove_abandoned, written_aside

__all__ = ["SpatialFacts", "SpatialPiece", "kept_or_made", "read_spatial", "spatial_path"]

VOLUME_PREFIX: Final = "volume_"


class SpatialFacts(FrozenConfig):
    """What is known of the image that a spatial part was made from, and of its registration."""

    voxel_mm: tuple[float, float, float]
    """Voxel as scanned."""

    source_shape: tuple[int, int, int, int]
    """X, Y, Z and volumes as scanned."""

    image_sha256: str
    """Digest of the file."""

    voxels_sha256: str
    """Digest of the voxels."""

    findings: tuple[RunFinding, ...]
    """What is odd about it."""

    grid_shape: tuple[int, int, int]
    """X, Y and Z of the final grid."""

    template_dice: float | None
    """Overlap with the template's brain, where the run was normalised."""

    template_coverage: float | None
    """Share of the template's brain that was scanned, where the run was normalised."""

    quality: dict[str, float | None]
    """Numbers of the run as scanned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialPiece:
    """The spatial part of a run, and the numbers of the run that it was made from."""

    facts: SpatialFacts
    spatial: SpatialResult
    quality: RunQuality


def spatial_path(folder: Path, fingerprint: str) -> Path:
    """Return where the spatial part of this fingerprint lies or will lie."""
    return folder / fingerprint[:2] / f"{fingerprint}.safetensors"


def kept_or_made(path: Path, make: Callable[[], SpatialPiece]) -> SpatialPiece:
    """Return what is kept at a path; where nothing is, make it while all others wait.

    Parameters
    ----------
    path : of ``spatial_path``
    make : makes the piece; its errors are the caller's, and nothing is kept then
    """
    kept = _kept(path)
    if kept is not None:
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    with single_flight(path.with_suffix(".lock")):
        kept = _kept(path)
        if kept is not None:
            return kept
        piece = make()
        _write(path, piece)
        return piece


def _kept(path: Path) -> SpatialPiece | None:
    """Return what is kept, and remember in its time of change that it was used."""
    piece = read_spatial(path)
    if piece is not None:
        with suppress(OSError):
            os.utime(path)
    return piece


def _write(path: Path, piece: SpatialPiece) -> None:
    from safetensors.numpy import save_file

    remove_abandoned(path.parent, f".{path.name}.*")
    metadata = {"facts": piece.facts.model_dump_json()}
    with written_aside(path) as aside:
        save_file(_arrays(piece), aside, metadata=metadata)


def _arrays(piece: SpatialPiece) -> dict[str, NDArray[Any]]:
    spatial = piece.spatial
    arrays: dict[str, NDArray[Any]] = {
        "signals_VN": np.ascontiguousarray(spatial.signals_VN),
        "inside_XYZ": np.ascontiguousarray(spatial.inside_XYZ),
        "affine": np.ascontiguousarray(spatial.grid.affine),
    }
    if spatial.motion_V6 is not None and spatial.fd_V is not None:
        arrays["motion_V6"] = np.ascontiguousarray(spatial.motion_V6)
        arrays["fd_V"] = np.ascontiguousarray(spatial.fd_V)
    volume = {f"{VOLUME_PREFIX}{name}": a for name, a in piece.quality.volume.items()}
    return {**arrays, **{name: np.ascontiguousarray(array) for name, array in volume.items()}}


def read_spatial(path: Path) -> SpatialPiece | None:
    """Read a piece; a damaged one is as good as none, and is made again when it is needed."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    with suppress(OSError, SafetensorError, ValidationError, KeyError, ValueError, TypeError):
        with safe_open(path, framework="numpy") as file:
            facts = SpatialFacts.model_validate_json(file.metadata()["facts"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _piece(facts, arrays)
    return None


def _piece(facts: SpatialFacts, arrays: dict[str, NDArray[Any]]) -> SpatialPiece:
    spatial = SpatialResult(
        signals_VN=arrays["signals_VN"],
        inside_XYZ=arrays["inside_XYZ"],
        grid=Grid(shape=facts.grid_shape, affine=arrays["affine"]),
        motion_V6=arrays.get("motion_V6"),
        fd_V=arrays.get("fd_V"),
        template_dice=facts.template_dice,
        template_coverage=facts.template_coverage,
    )
    volume = {
        name.removeprefix(VOLUME_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(VOLUME_PREFIX)
    }
    quality = RunQuality(run=dict(facts.quality), volume=volume)
    return SpatialPiece(facts=facts, spatial=spatial, quality=quality)
