"""How much disk a shard set and the spatial parts of its runs take, before either is made.

Slices are float16 over the whole grid, so that the size of a set follows from recipe and headers.
A spatial part is float32 inside the brain, whose size only an image tells: of each data set and
geometry a few runs are read, their mean volume goes through the grid and mask of each recipe, and
the others are taken to be like them. Not here: what is on disk already (``store``).
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig, fingerprint
from spectrum.data.describing import size_text
from spectrum.data.grids import Grid, build_grid
from spectrum.data.images import BoldImage, read_bold, read_image_header, read_mask
from spectrum.data.pieces import RunJob
from spectrum.data.quality import VOLUME_QUALITY_NAMES
from spectrum.data.recipe import SPATIAL_STEPS, recipe_prefixes
from spectrum.data.registration.resampling import resample_run
from spectrum.data.registration.template import mni152
from spectrum.data.spatial import Surroundings, apply_spatial
from spectrum.data.spatial_pieces import spatial_path
from spectrum.errors import ImageError, ShardError

__all__ = [
    "SetSize",
    "SizeEstimate",
    "check_room",
    "free_bytes",
    "spatial_name",
]

BYTES_OF_RUN: Final = 9_000
"""Of a run in a set besides its volumes: footer and manifest, measured."""

BYTES_OF_VOLUME: Final = 40
"""Of a volume in a set besides its slices: index and four numbers, little of it compressible."""

BYTES_OF_PART: Final = 2_500
"""Of a spatial part besides its arrays: names, and what is known of the image."""

NUM_SAMPLES: Final = 3
"""Runs of each data set and geometry that are read; subjects' brains differ by a few percent."""

LEAST_SHARE: Final = 0.5
"""As in ``spatial``: a voxel belongs to the template's mask where half of it does."""

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSize:
    """Bytes of a set, and of the spatial parts that it is made from.

    ``num_runs`` and ``num_volumes`` are those of the set; runs that will be refused for what only
    reading tells are counted.
    """

    num_runs: int
    num_volumes: int
    set_bytes: int
    spatial_bytes: int


class SizeEstimate:
    """Sizes of recipes over the same runs; each image is read once, whatever the recipes.

    Parameters
    ----------
    jobs : the runs; their own recipe does not count
    shape_of : X, Y, Z and volumes as scanned, by the run's name; others are left out
    reads_images : whether brains are measured; otherwise each fills its grid, the most it can take
    """

    def __init__(
        self, jobs: Sequence[RunJob], shape_of: Mapping[str, Shape], *, reads_images: bool = True
    ) -> None:
        self._reads_images = reads_images
        self.jobs = [job for job in jobs if job.name in shape_of]
        self.shape_of = shape_of
        self._means: dict[str, BoldImage | None] = {}
        self._voxels: dict[tuple[str, ...], float] = {}

    def size_of(self, recipe: PreprocessingConfig) -> SetSize:
        """Return what a recipe takes, its spatial parts included."""
        parts = sum(self.part_bytes(job, recipe) for job in self.jobs)
        return replace(self.set_size(recipe), spatial_bytes=parts)

    def set_size(self, recipe: PreprocessingConfig) -> SetSize:
        """Return what a set takes; no image is read for it."""
        kept = {job.name: self.num_kept(job, recipe) for job in self.jobs}
        shapes = {job.name: self.grid_shape(job, recipe) for job in self.jobs}
        counts = Counter(tuple(sorted(shape)) for shape in shapes.values())
        common = counts.most_common(1)[0][0] if counts else ()
        in_set = [job.name for job in self.jobs if tuple(sorted(shapes[job.name])) == common]
        num_volumes = sum(kept[name] for name in in_set)
        volume_bytes = 2 * math.prod(common) + BYTES_OF_VOLUME
        return SetSize(
            num_runs=len(in_set),
            num_volumes=num_volumes,
            set_bytes=num_volumes * volume_bytes + len(in_set) * BYTES_OF_RUN,
            spatial_bytes=0,
        )

    def part_bytes(self, job: RunJob, recipe: PreprocessingConfig) -> int:
        """Return the bytes of the spatial part of a run."""
        num_volumes = self.num_kept(job, recipe)
        columns = 7 if recipe.motion_correction and not job.is_corrected else 0
        volume_bytes = 4 * self._num_voxels(job, recipe) + 8 * columns
        numbers = 8 * len(VOLUME_QUALITY_NAMES) * self.shape_of[job.name][3]
        mask = math.prod(self.grid_shape(job, recipe))
        return int(num_volumes * volume_bytes) + numbers + mask + BYTES_OF_PART

    def num_kept(self, job: RunJob, recipe: PreprocessingConfig) -> int:
        """Return the volumes of a run that a recipe keeps."""
        return max(0, self.shape_of[job.name][3] - recipe.drop_initial_volumes)

    def grid_shape(self, job: RunJob, recipe: PreprocessingConfig) -> tuple[int, int, int]:
        """Return X, Y and Z of a run on the grid of a recipe."""
        x, y, z, _ = self.shape_of[job.name]
        return _grid(recipe, (x, y, z)).shape

    def _num_voxels(self, job: RunJob, recipe: PreprocessingConfig) -> float:
        """Return the voxels inside the mask, the mean over the runs of its kind that are read."""
        if not self._reads_images:
            return float(math.prod(self.grid_shape(job, recipe)))
        is_normalised = recipe.normalization != "none" and not job.is_aligned
        kind = (job.key["dataset"], str(self.shape_of[job.name][:3]), str(job.is_aligned))
        key = (*kind, spatial_name(_still(recipe, is_normalised=is_normalised)))
        if key not in self._voxels:
            self._voxels[key] = (
                float(_template_voxels(recipe))
                if is_normalised and recipe.brain_mask
                else self._measured_voxels(kind, job, recipe)
            )
        return self._voxels[key]

    def _measured_voxels(
        self, kind: tuple[str, str, str], job: RunJob, recipe: PreprocessingConfig
    ) -> float:
        still = _still(recipe, is_normalised=False)
        counts = []
        for other in self._samples(kind):
            image = self._mean(other)
            if image is not None:
                try:
                    brain_XYZ = _brain(other, image)
                    known = Surroundings(is_aligned=other.is_aligned, brain_XYZ=brain_XYZ)
                    spatial = apply_spatial(image, config=still, surroundings=known)
                except ImageError:
                    continue
                counts.append(spatial.signals_VN.shape[1])
        whole = math.prod(self.grid_shape(job, recipe))
        return float(np.mean(counts)) if counts else float(whole)

    def _samples(self, kind: tuple[str, str, str]) -> list[RunJob]:
        """Return some runs of a kind, of different subjects where there are so many."""
        dataset, shape, is_aligned = kind
        of_subject: dict[str, RunJob] = {}
        for job in self.jobs:
            found = (job.key["dataset"], str(self.shape_of[job.name][:3]), str(job.is_aligned))
            if found == (dataset, shape, is_aligned):
                of_subject.setdefault(job.key["subject"], job)
        return list(of_subject.values())[:NUM_SAMPLES]

    def _mean(self, job: RunJob) -> BoldImage | None:
        """Return the mean volume of a run as an image; None where it cannot be read."""
        if job.name not in self._means:
            try:
                self._means[job.name] = _averaged(read_bold(job.image_paths[0]))
            except ImageError:
                self._means[job.name] = None
        return self._means[job.name]


def _averaged(image: BoldImage) -> BoldImage:
    mean_XYZ = image.data_XYZV.mean(axis=3, dtype=np.float32)
    return BoldImage(
        data_XYZV=mean_XYZ[..., None],
        affine=image.affine,
        voxel_mm=image.voxel_mm,
        tr_s=image.tr_s,
        sha256=image.sha256,
        voxels_sha256=image.voxels_sha256,
    )


def _brain(job: RunJob, image: BoldImage) -> NDArray[np.bool_] | None:
    if job.mask_path is None:
        return None
    brain_XYZ = read_mask(Path(job.mask_path))[0]
    return brain_XYZ if brain_XYZ.shape == image.data_XYZV.shape[:3] else None


def _still(recipe: PreprocessingConfig, *, is_normalised: bool) -> PreprocessingConfig:
    """Return the recipe without the steps that leave the number of voxels nearly as it is."""
    return recipe.model_copy(
        update={
            "drop_initial_volumes": 0,
            "motion_correction": False,
            "slice_timing": "off",
            "normalization": recipe.normalization if is_normalised else "none",
        }
    )


def _grid(recipe: PreprocessingConfig, shape: tuple[int, int, int]) -> Grid:
    source = Grid(shape=shape, affine=np.eye(4))
    return build_grid(source, np.zeros(shape, dtype=bool), recipe, is_aligned=True)


def _template_voxels(recipe: PreprocessingConfig) -> int:
    template = mni152()
    x, y, z = template.brain_XYZ.shape
    share_XYZV, _ = resample_run(
        template.brain_XYZ[..., None].astype(np.float32),
        Grid(shape=(x, y, z), affine=template.affine),
        _grid(recipe, (1, 1, 1)),
        places_V44=np.eye(4),
    )
    return int((share_XYZV[..., 0] >= LEAST_SHARE).sum())


def spatial_name(recipe: PreprocessingConfig) -> str:
    """Return what recipes have in common that share the spatial parts of runs."""
    return fingerprint([step for step in recipe_prefixes(recipe) if step[0] in SPATIAL_STEPS])


def free_bytes(folder: Path) -> int:
    """Return the free disk where a folder is or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(
    root: Path, jobs: Sequence[RunJob], free: Callable[[Path], int] = free_bytes
) -> None:
    """Refuse to make runs that the disk has no room for.

    While a set is made its runs lie there twice: as finished pieces, and in the files of the set.
    Images are read only where the most that spatial parts can take does not fit: it takes long,
    and an image may end who reads it.

    Parameters
    ----------
    root : folder of all shard sets
    jobs : runs of one recipe that are to be made; of those whose digests are known it is seen
        whether their spatial part is kept already
    free : bytes that are free where a folder is

    Raises
    ------
    ShardError
        With both sizes.
    """
    if not jobs:
        return
    shape_of, left = dict(_shapes(jobs)), free(root)
    if sum(_needed(jobs, SizeEstimate(jobs, shape_of, reads_images=False))) <= left:
        return
    twice, parts = _needed(jobs, SizeEstimate(jobs, shape_of))
    needed = twice + parts
    if needed > left:
        raise ShardError(
            f"To make {len(jobs)} runs takes about {size_text(needed)} of disk, "
            f"{size_text(parts)} of it for spatial parts that stay; {root} has {size_text(left)} "
            "free. Free some (`spectrum shards prune`), choose another --shards folder, or a "
            "coarser grid."
        )


def _needed(jobs: Sequence[RunJob], estimate: SizeEstimate) -> tuple[int, int]:
    """Return the bytes of the runs, which lie there twice, and of spatial parts not kept yet."""
    recipe = jobs[0].recipe
    missing = [job for job in estimate.jobs if not _is_part_kept(job)]
    parts = sum(estimate.part_bytes(job, recipe) for job in missing)
    return 2 * estimate.set_size(recipe).set_bytes, parts


def _shapes(jobs: Iterable[RunJob]) -> Iterable[tuple[str, Shape]]:
    for job in jobs:
        try:
            shape = read_image_header(job.image_paths[0]).shape
        except ImageError:
            continue
        if len(shape) == 4:
            x, y, z, v = shape
            yield job.name, (x, y, z, v)


def _is_part_kept(job: RunJob) -> bool:
    if not job.known_digests:
        return False
    name = job.spatial_fingerprint_for(job.known_digests)
    return spatial_path(Path(job.spatial_folder), name).is_file()
