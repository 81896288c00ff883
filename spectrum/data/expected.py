"""What a shard set will hold before it is made, as far as headers and events tell.

Enough to cut sequences and draw folds. Not here: what only the images tell, such as runs that will
be refused when they are read, and people known under two names.
"""

from __future__ import annotations

from collections import Counter

from spectrum.config import PreprocessingConfig
from spectrum.data.manifest import ShardRun
from spectrum.data.pieces import RunJob, shifted_events
from spectrum.data.set_sizes import SizeEstimate

__all__ = ["expected_runs"]


def expected_runs(estimate: SizeEstimate, recipe: PreprocessingConfig) -> tuple[ShardRun, ...]:
    """Return the runs of a set that is not made, those of the shape that most have.

    Parameters
    ----------
    estimate : of the runs that go into the set
    recipe : what will be done to them

    Returns
    -------
    runs : in the order of their keys; digests and quality are empty, as they are not known
    """
    found = [_expected(job, estimate, recipe) for job in estimate.jobs]
    usable = [run for run in found if run is not None]
    counts = Counter(run.shape_SHW for run in usable)
    common = counts.most_common(1)[0][0] if counts else None
    return tuple(run for run in usable if run.shape_SHW == common)


def _expected(job: RunJob, estimate: SizeEstimate, recipe: PreprocessingConfig) -> ShardRun | None:
    num_volumes = estimate.num_kept(job, recipe)
    if num_volumes < 1:
        return None
    x, y, z = estimate.grid_shape(job, recipe)
    return ShardRun(
        **job.key,
        num_volumes=num_volumes,
        tr_s=job.tr_s,
        # No sequence and no fold depends on the voxel as scanned.
        voxel_mm=(1.0, 1.0, 1.0),
        source_shape=estimate.shape_of[job.name],
        shape_SHW=(z, y, x),
        image_sha256="",
        fingerprint="",
        content_sha256="",
        quality={},
        events=shifted_events(job.model_copy(update={"recipe": recipe})),
    )
