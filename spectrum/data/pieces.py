"""One run, from its files to a piece: what a worker does, without Ray.

A piece is a Parquet file of one run, kept until the set that it belongs to is published. Not here:
which runs are made and by whom (``pipeline``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spectrum.config import PreprocessingConfig, fingerprint
from spectrum.config.frozen import FrozenConfig
from spectrum.data.confounds import Confounds, read_confounds
from spectrum.data.digests import file_state
from spectrum.data.echoes import AFFINE_TOLERANCE_MM, COMBINATION, combine_echoes
from spectrum.data.images import BoldImage, digest_beside, digest_file, read_bold, read_mask
from spectrum.data.manifest import Refusal, RunFinding, ShardRun
from spectrum.data.quality import (
    VOLUME_QUALITY_NAMES,
    RunQuality,
    measure_quality,
    read_displacement,
    with_displacement,
)
from spectrum.data.recipe import (
    SPATIAL_STEPS,
    RecipeResult,
    check_fit,
    finish_recipe,
    prefix_fingerprints,
    run_fingerprint,
)
from spectrum.data.runs import Event, Run
from spectrum.data.shards import content_digest, write_piece
from spectrum.data.spatial import Surroundings, apply_spatial
from spectrum.data.spatial_pieces import SpatialFacts, SpatialPiece, kept_or_made, spatial_path
from spectrum.entities import RunKey
from spectrum.errors import DataError, ImageError

__all__ = [
    "RunJob",
    "RunOutcome",
    "finish_run",
    "piece_path",
    "refusal_of",
    "run_job",
    "shifted_events",
]

SPATIAL_FOLDER: Final = ".spatial"
"""Beside the sets: spatial parts of runs, which recipes share."""


class RunJob(FrozenConfig):
    """All that a worker needs to know to make one run; plain JSON."""

    key: dict[str, str]
    """Fields of the run's key."""

    path: str
    """The image, or its first echo."""

    echo_paths: tuple[str, ...] = ()
    """All echoes, where there are several."""

    echo_times_s: tuple[float, ...] = ()
    """When each of them was read, seconds."""

    tr_s: float
    """Seconds between two volumes, from the run table."""

    slice_times_s: tuple[float, ...] | None = None
    """When slices were read, seconds from the start of a volume, if it is told."""

    is_corrected: bool = False
    """Whether motion and slice timing were corrected before (derivatives)."""

    mask_path: str | None
    """Brain mask of a derivative, or None."""

    confounds_path: str | None
    """Confounds table of a derivative, or None."""

    is_aligned: bool
    """Whether the image is in MNI152 space."""

    events: tuple[Event, ...]
    """As the file lists them, from the start of the first volume."""

    recipe: PreprocessingConfig
    """What is done to the run."""

    folder: str
    """Where the piece goes."""

    spatial_folder: str
    """Where spatial parts are kept, for all recipes."""

    known_digests: tuple[str, ...] = ()
    """Digests of the inputs where they are known without reading; empty where not."""

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.run_key)

    @property
    def run_key(self) -> RunKey:
        """Which run it is."""
        return RunKey(**self.key)

    @property
    def image_paths(self) -> tuple[Path, ...]:
        """The image, or its echoes."""
        return tuple(Path(path) for path in self.echo_paths or (self.path,))

    @property
    def confounds_json_path(self) -> Path | None:
        """Sidecar of the confounds table; where the recipe needs it and it is there."""
        if self.confounds_path is None or not self.recipe.compcor_components:
            return None
        path = Path(self.confounds_path).with_suffix(".json")
        return path if path.is_file() else None

    @property
    def beside(self) -> dict[str, Path]:
        """Inputs besides the image, by the names of their fields."""
        names = ("mask_path", "confounds_path", "confounds_json_path")
        return {name: Path(path) for name in names if (path := getattr(self, name))}

    @property
    def input_paths(self) -> tuple[Path, ...]:
        """Files whose bytes decide the result, images first."""
        return (*self.image_paths, *self.beside.values())

    def fingerprint_for(self, sha256_of_input: tuple[str, ...]) -> str:
        """Return the run's fingerprint from the digests of ``input_paths``, in their order."""
        image, *_ = sha256_of_input
        return run_fingerprint(image, self.tr_s, self.recipe, self._further(sha256_of_input))

    def spatial_fingerprint_for(self, sha256_of_input: tuple[str, ...]) -> str:
        """Return the fingerprint of the spatial part."""
        image, *_ = sha256_of_input
        further = self._further(sha256_of_input)
        return prefix_fingerprints(image, self.tr_s, self.recipe, further)[SPATIAL_STEPS[-1]]

    def _further(self, sha256_of_input: tuple[str, ...]) -> dict[str, str]:
        names = [f"echo {number}" for number in range(2, len(self.image_paths) + 1)]
        further = dict(zip([*names, *self.beside], sha256_of_input[1:], strict=True))
        if self.echo_paths:
            further["echoes"] = f"{COMBINATION} {self.echo_times_s}"
        if self.is_aligned:
            further["space"] = "MNI152"
        if self.is_corrected:
            further["corrected"] = "before"
        if self.recipe.slice_timing == "sidecar":
            further["slice_times"] = str(self.slice_times_s)
        return further


class RunOutcome(FrozenConfig):
    """What became of one run: a description of its piece, or why there is none."""

    run: ShardRun | None = None
    """The run, in no set yet."""

    refusal: Refusal | None = None
    """Why it was refused."""

    digests: dict[str, tuple[int, int, str]] = Field(default_factory=dict)
    """Size, time of change and SHA-256 of each input that could be read, by absolute path."""


def run_job(
    run: Run, events: tuple[Event, ...], recipe: PreprocessingConfig, folder: Path
) -> RunJob:
    """Return the job that makes a usable run of the table."""
    assert run.tr_s is not None
    return RunJob(
        key={name: value for name, value in asdict(run.key).items()},
        path=str(run.path.absolute()),
        echo_paths=tuple(str(path.absolute()) for path in run.echo_paths),
        echo_times_s=run.echo_times_s,
        tr_s=run.tr_s,
        mask_path=_text(run.brain_mask_path),
        confounds_path=_text(run.confounds_path),
        slice_times_s=run.slice_times_s,
        is_corrected=run.is_derivative,
        is_aligned=run.is_derivative and "space-MNI152" in run.key.acquisition,
        events=events,
        recipe=recipe,
        folder=str(folder),
        spatial_folder=str(folder.parent / SPATIAL_FOLDER),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def piece_path(folder: Path, key: RunKey, run_fingerprint: str) -> Path:
    """Return where the piece of a run lies; equal images of two runs have two pieces."""
    return folder / f"{run_fingerprint[:32]}-{fingerprint(str(key))[:8]}.parquet"


def finish_run(job: RunJob) -> RunOutcome:
    """Make one run and write its piece; a run that cannot be made is refused, not raised."""
    try:
        with _named_after(job):
            return _make(job)
    except DataError as err:
        return RunOutcome(refusal=refusal_of(err, job.path), digests=_digests(job))


def refusal_of(err: DataError, path: str) -> Refusal:
    """Return an error as a line of the manifest."""
    return Refusal(code=err.code, path=err.path or path, message=err.message)


@contextmanager
def _named_after(job: RunJob) -> Iterator[None]:
    """Put the run's name before messages of steps that do not know it."""
    try:
        yield
    except MemoryError as err:
        raise ImageError(
            f"{job.name} does not fit into memory while it is processed. "
            "Free some, run fewer workers, or choose a coarser grid; then prepare again.",
            code="out-of-memory",
            path=job.path,
        ) from err
    except ImageError as err:
        if err.path:
            raise
        message = f"{job.name}: {err.message[0].lower()}{err.message[1:]}"
        raise ImageError(message, code=err.code, path=job.path) from err


def _make(job: RunJob) -> RunOutcome:
    states = [file_state(path) for path in job.input_paths]
    piece, sha256s = _spatial(job)
    facts, first = piece.facts, job.recipe.drop_initial_volumes
    known = _surroundings(job, facts.source_shape[3])
    result = finish_recipe(piece.spatial, tr_s=job.tr_s, config=job.recipe, surroundings=known)
    quality = with_displacement(piece.quality, _displacement(job, piece))
    volume_quality = {name: quality.volume[name][first:] for name in VOLUME_QUALITY_NAMES}
    numbers = {"quality": quality.run, "affine": piece.spatial.grid.rows}
    run = _describe(job, facts, result, sha256s).model_copy(update=numbers)
    content = content_digest(run, result.slices_VSHW, volume_quality)
    run = run.model_copy(update={"content_sha256": content})
    path = piece_path(Path(job.folder), run.key, run.fingerprint)
    write_piece(path, run, result.slices_VSHW, volume_quality)
    digests = {
        str(path): (*state, sha256)
        for path, state, sha256 in zip(job.input_paths, states, sha256s, strict=True)
        if state is not None
    }
    return RunOutcome(run=run, digests=digests)


def _spatial(job: RunJob) -> tuple[SpatialPiece, tuple[str, ...]]:
    """Return the spatial part, kept or made, and the digests of all inputs."""
    folder = Path(job.spatial_folder)
    if job.known_digests:
        path = spatial_path(folder, job.spatial_fingerprint_for(job.known_digests))
        return kept_or_made(path, lambda: _make_spatial(job, _read(job)[0])), job.known_digests
    image, sha256s = _read(job)
    path = spatial_path(folder, job.spatial_fingerprint_for(sha256s))
    return kept_or_made(path, lambda: _make_spatial(job, image)), sha256s


def _make_spatial(job: RunJob, image: BoldImage) -> SpatialPiece:
    num_volumes = image.data_XYZV.shape[3]
    known = replace(_surroundings(job, num_volumes), brain_XYZ=_brain(image, job.mask_path))
    check_fit(num_volumes - job.recipe.drop_initial_volumes, job.tr_s, job.recipe, known)
    spatial = apply_spatial(image, config=job.recipe, tr_s=job.tr_s, surroundings=known)
    quality = measure_quality(image.data_XYZV, image.voxel_mm)
    registered = {
        "template_dice": spatial.template_dice,
        "template_coverage": spatial.template_coverage,
    }
    x, y, z, _ = image.data_XYZV.shape
    facts = SpatialFacts(
        voxel_mm=image.voxel_mm,
        source_shape=(x, y, z, num_volumes),
        image_sha256=image.sha256,
        voxels_sha256=image.voxels_sha256,
        findings=tuple(RunFinding(code=f.code, message=f.message) for f in image.findings),
        grid_shape=spatial.grid.shape,
        quality={**quality.run, **registered},
        **registered,
    )
    quality = RunQuality(run=dict(facts.quality), volume=quality.volume)
    return SpatialPiece(facts=facts, spatial=spatial, quality=quality)


def _surroundings(job: RunJob, num_volumes: int) -> Surroundings:
    return Surroundings(
        is_aligned=job.is_aligned,
        is_corrected=job.is_corrected,
        slice_times_s=job.slice_times_s,
        confounds=_confounds(job, num_volumes),
    )


def _displacement(job: RunJob, piece: SpatialPiece) -> NDArray[np.float64] | None:
    """Return framewise displacement of all volumes: of the run's own motion, or of a table."""
    num_volumes = piece.facts.source_shape[3]
    if piece.spatial.fd_V is not None:
        dropped = np.full(num_volumes - len(piece.spatial.fd_V), np.nan)
        return np.concatenate([dropped, piece.spatial.fd_V])
    if job.confounds_path is None:
        return None
    return read_displacement(Path(job.confounds_path), num_volumes)


def _read(job: RunJob) -> tuple[BoldImage, tuple[str, ...]]:
    """Return the image, its echoes combined, and the digests of all inputs."""
    images = [read_bold(path) for path in job.image_paths]
    beside = job.input_paths[len(images) :]
    sha256s = (*(image.sha256 for image in images), *(digest_beside(path) for path in beside))
    return combine_echoes(images, job.echo_times_s) if len(images) > 1 else images[0], sha256s


def _describe(
    job: RunJob, facts: SpatialFacts, result: RecipeResult, sha256s: tuple[str, ...]
) -> ShardRun:
    num_volumes, *shape = result.slices_VSHW.shape
    return ShardRun(
        **job.key,
        num_volumes=num_volumes,
        tr_s=job.tr_s,
        voxel_mm=facts.voxel_mm,
        source_shape=facts.source_shape,
        shape_SHW=tuple(shape),
        image_sha256=facts.image_sha256,
        voxels_sha256=facts.voxels_sha256,
        findings=facts.findings,
        fingerprint=job.fingerprint_for(sha256s),
        content_sha256="",
        scale=result.scale,
        quality={},
        events=shifted_events(job),
    )


def shifted_events(job: RunJob) -> tuple[Event, ...]:
    """Return the events with onsets from the first volume that the recipe keeps."""
    shift_s = job.recipe.drop_initial_volumes * job.tr_s
    return tuple(
        Event(
            onset_s=event.onset_s - shift_s,
            duration_s=event.duration_s,
            trial_type=event.trial_type,
        )
        for event in job.events
    )


def _brain(image: BoldImage, mask_path: str | None) -> NDArray[np.bool_] | None:
    if mask_path is None:
        return None
    brain_XYZ, affine, _ = read_mask(Path(mask_path))
    is_same_shape = brain_XYZ.shape == image.data_XYZV.shape[:3]
    if not is_same_shape or not np.allclose(affine, image.affine, atol=AFFINE_TOLERANCE_MM):
        raise ImageError(
            f"{mask_path} is not on the grid of its run. "
            "Mask and image must have one shape and one affine; make the derivatives again.",
            code="bad-mask",
            path=mask_path,
        )
    return brain_XYZ


def _confounds(job: RunJob, num_volumes: int) -> Confounds | None:
    is_asked = job.recipe.confounds != "none" or job.recipe.reads_table
    if job.confounds_path is None or not is_asked:
        return None
    return read_confounds(
        Path(job.confounds_path), job.confounds_json_path, job.recipe, num_volumes
    )


def _digests(job: RunJob) -> dict[str, tuple[int, int, str]]:
    found = {}
    for path in job.input_paths:
        state = file_state(path)
        if state is not None and os.access(path, os.R_OK) and path.is_file():
            with suppress(OSError):
                found[str(path)] = (*state, digest_file(path))
    return found
