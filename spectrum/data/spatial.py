"""The spatial part of a recipe: from a run as scanned to voxels inside a mask on one grid.

Order: drop initial volumes, find motion, correct slice timing, find the way to MNI152, then one
resampling that applies motion, normalisation and grid together, then the mask. What fMRIPrep has
made comes after all of these but drop, grid and mask. Not here: the steps themselves
(``registration``, ``grids``, ``resampling``), and what happens over time (``recipe``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.confounds import Confounds
from spectrum.data.grids import Grid, build_grid, find_brain
from spectrum.data.images import BoldImage
from spectrum.data.registration.motion import MotionEstimate, estimate_motion
from spectrum.data.registration.normalisation import Normalisation, normalise
from spectrum.data.registration.resampling import resample_run
from spectrum.data.registration.slice_timing import correct_slice_timing, slice_times
from spectrum.data.registration.template import mni152
from spectrum.data.resampling import to_grid
from spectrum.errors import ImageError

__all__ = ["SpatialResult", "Surroundings", "apply_spatial", "mean_as_scanned"]

Bools = NDArray[np.bool_]

LEAST_SHARE: Final = 0.5
"""A voxel of a coarser grid belongs to a mask where half of it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of a run besides its image.

    ``brain_XYZ`` is a mask on the image's own grid (fMRIPrep), or None to find one; ``is_aligned``
    says that the image is in MNI152 space, ``is_corrected`` that motion and slice timing were
    corrected; ``slice_times_s`` are when slices were read, from the start of a volume;
    ``motion_V6`` are shifts along and turns about x, y and z of every volume as scanned,
    millimetres and radians; ``confounds`` are from a table of fMRIPrep; ``digests`` names what
    these came from, for the fingerprint.
    """

    brain_XYZ: Bools | None = None
    is_aligned: bool = False
    is_corrected: bool = False
    slice_times_s: tuple[float, ...] | None = None
    motion_V6: NDArray[np.float64] | None = None
    confounds: Confounds | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialResult:
    """A run on its final grid: float32 voxels inside the mask, in scanner units.

    ``signals_VN`` has the voxels of ``inside_XYZ`` with X fastest; ``grid`` is that of the mask.
    ``motion_V6`` (mm, radians) and ``fd_V`` (mm, NaN first) of the volumes that are kept are known
    where motion was corrected,
    ``template_dice`` and ``template_coverage`` where the run was normalised.
    """

    signals_VN: NDArray[np.float32]
    inside_XYZ: Bools
    grid: Grid
    motion_V6: NDArray[np.float64] | None = None
    fd_V: NDArray[np.float64] | None = None
    template_dice: float | None = None
    template_coverage: float | None = None


def apply_spatial(
    image: BoldImage,
    *,
    config: PreprocessingConfig,
    tr_s: float | None = None,
    surroundings: Surroundings | None = None,
) -> SpatialResult:
    """Apply the steps up to the mask: the part that recipes share.

    Axes are first turned, without interpolation, so that X runs to the right, Y to the front and Z
    to the top, as near as the scanner's axes allow. A voxel that is not finite in any volume is
    outside.

    Parameters
    ----------
    image : as scanned
    config : the recipe; only what the spatial steps read counts
    tr_s : seconds; needed where slice timing is corrected
    surroundings : what is known of the run

    Raises
    ------
    ImageError
        ``too-short``, ``not-finite``, ``empty-mask``, ``bad-mask``, ``no-slice-timing``, or a code
        of ``registration``.
    """
    known = surroundings or Surroundings()
    data_XYZV = image.data_XYZV[..., config.drop_initial_volumes :]
    if not data_XYZV.shape[3]:
        raise ImageError(
            f"The run has {image.data_XYZV.shape[3]} volumes and all of them are dropped. "
            "Lower preprocessing.drop_initial_volumes, or leave the run out.",
            code="too-short",
        )
    corrects_motion = config.motion_correction and not known.is_corrected
    motion = estimate_motion(data_XYZV, image.affine) if corrects_motion else None
    if config.slice_timing != "off" and not known.is_corrected:
        data_XYZV = _slice_timed(data_XYZV, config, tr_s, known)
    if motion is None and (config.normalization == "none" or known.is_aligned):
        return _laid_on_grid(data_XYZV, image.affine, config, known)
    return _registered(data_XYZV, image.affine, config, known, motion)


def mean_as_scanned(
    image: BoldImage, *, config: PreprocessingConfig, brain_XYZ: Bools | None = None
) -> tuple[NDArray[np.float32], Bools, Grid]:
    """Return the mean of the volumes that are kept, its brain, and their grid, to be looked at.

    Axes are turned as ``apply_spatial`` turns them; nothing is interpolated.

    Parameters
    ----------
    image : as scanned
    config : the recipe
    brain_XYZ : on the image's own grid, or None to find it

    Raises
    ------
    ImageError
        ``not-finite`` or ``bad-mask``.
    """
    data_XYZV = image.data_XYZV[..., config.drop_initial_volumes :]
    data_XYZV, grid, brain_XYZ = _oriented(data_XYZV, image.affine, brain_XYZ)
    _, mean_XYZ = _mean_volume(data_XYZV)
    return mean_XYZ, find_brain(mean_XYZ, grid) if brain_XYZ is None else brain_XYZ, grid


def _slice_timed(
    data_XYZV: NDArray[Any],
    config: PreprocessingConfig,
    tr_s: float | None,
    known: Surroundings,
) -> NDArray[np.float32]:
    assert tr_s is not None
    if config.slice_timing != "sidecar":
        assert config.slice_timing != "off"
        times_s = slice_times(config.slice_timing, data_XYZV.shape[2], tr_s=tr_s)
        return correct_slice_timing(data_XYZV, times_s, tr_s=tr_s)
    if known.slice_times_s is None:
        raise ImageError(
            "No sidecar tells when the slices of the run were read. "
            "Add SliceTiming to it, state the order in preprocessing.slice_timing, or set it off.",
            code="no-slice-timing",
        )
    return correct_slice_timing(data_XYZV, known.slice_times_s, tr_s=tr_s)


def _laid_on_grid(
    data_XYZV: NDArray[Any],
    affine: NDArray[np.float64],
    config: PreprocessingConfig,
    known: Surroundings,
) -> SpatialResult:
    """Go to the grid without a registration."""
    data_XYZV, source, brain_XYZ = _oriented(data_XYZV, affine, known.brain_XYZ)
    finite_XYZ, mean_XYZ = _mean_volume(data_XYZV)
    brain_XYZ = find_brain(mean_XYZ, source) if brain_XYZ is None else brain_XYZ
    weights_XYZ = finite_XYZ & (brain_XYZ if config.brain_mask else True)
    _check_mask(weights_XYZ & brain_XYZ)
    grid = build_grid(source, brain_XYZ, config, is_aligned=known.is_aligned)
    signals_VN, inside_XYZ = to_grid(data_XYZV, weights_XYZ, source, grid)
    _check_mask(inside_XYZ)
    return SpatialResult(signals_VN=signals_VN, inside_XYZ=inside_XYZ, grid=grid)


def _registered(
    data_XYZV: NDArray[Any],
    affine: NDArray[np.float64],
    config: PreprocessingConfig,
    known: Surroundings,
    motion: MotionEstimate | None,
) -> SpatialResult:
    """Apply motion, normalisation and grid in one interpolation."""
    data_XYZV, source, brain_XYZ = _oriented(data_XYZV, affine, known.brain_XYZ)
    _, mean_XYZ = _mean_volume(data_XYZV)
    if motion is not None:
        mean_XYZ = _oriented(motion.reference_XYZ[..., None], affine, None)[0][..., 0]
    brain_XYZ = find_brain(mean_XYZ, source) if brain_XYZ is None else brain_XYZ
    _check_mask(brain_XYZ)
    normal = None
    if config.normalization == "mni152" and not known.is_aligned:
        normal = normalise(mean_XYZ, brain_XYZ, source.affine)
    is_aligned = known.is_aligned or normal is not None
    grid = build_grid(source, brain_XYZ, config, is_aligned=is_aligned)
    wanted_XYZ = _mask_on(grid, brain_XYZ, source, is_normal=normal is not None)
    places_V44 = np.eye(4) if motion is None else motion.places_V44
    moved_XYZV, inside_XYZ = resample_run(
        data_XYZV,
        source,
        grid,
        places_V44=places_V44 if normal is None else places_V44 @ normal.to_run,
        wanted_XYZ=wanted_XYZ if config.brain_mask else None,
    )
    _check_mask(inside_XYZ & wanted_XYZ)
    return _described(moved_XYZV, inside_XYZ, grid, motion, normal)


def _described(
    moved_XYZV: NDArray[np.float32],
    inside_XYZ: Bools,
    grid: Grid,
    motion: MotionEstimate | None,
    normal: Normalisation | None,
) -> SpatialResult:
    return SpatialResult(
        signals_VN=np.ascontiguousarray(moved_XYZV.T[:, inside_XYZ.T]),
        inside_XYZ=inside_XYZ,
        grid=grid,
        motion_V6=None if motion is None else motion.motion_V6,
        fd_V=None if motion is None else motion.fd_mm,
        template_dice=None if normal is None else normal.dice,
        template_coverage=None if normal is None else normal.coverage,
    )


def _mask_on(grid: Grid, brain_XYZ: Bools, source: Grid, *, is_normal: bool) -> Bools:
    """Return the brain on the final grid: the template's where the run was laid on it.

    One mask for all runs of a template says nothing of any of them.
    """
    if is_normal:
        template = mni152()
        source = Grid(shape=_sides(template.brain_XYZ), affine=template.affine)
        brain_XYZ = template.brain_XYZ
    share_XYZV, _ = resample_run(
        brain_XYZ[..., None].astype(np.float32), source, grid, places_V44=np.eye(4)
    )
    return np.asarray(share_XYZV[..., 0] >= LEAST_SHARE)


def _sides(mask_XYZ: Bools) -> tuple[int, int, int]:
    x, y, z = mask_XYZ.shape
    return x, y, z


def _oriented(
    data_XYZV: NDArray[Any], affine: NDArray[np.float64], brain_XYZ: Bools | None
) -> tuple[NDArray[Any], Grid, Bools | None]:
    """Flip and swap axes to right, anterior, superior; no voxel changes its value or place."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    shape = data_XYZV.shape[:3]
    if brain_XYZ is not None and brain_XYZ.shape != shape:
        raise ImageError(
            f"The brain mask has the shape {brain_XYZ.shape} and the run {shape}. "
            "Both must be on one grid; make the derivatives again.",
            code="bad-mask",
        )
    turn = io_orientation(affine)
    turned = apply_orientation(data_XYZV, turn)
    grid = Grid(shape=turned.shape[:3], affine=affine @ inv_ornt_aff(turn, shape))
    return turned, grid, None if brain_XYZ is None else apply_orientation(brain_XYZ, turn)


def _mean_volume(data_XYZV: NDArray[Any]) -> tuple[Bools, NDArray[np.float32]]:
    """Return which voxels are finite in all volumes, and the mean volume, 0 elsewhere."""
    total_XYZ = np.zeros(data_XYZV.shape[:3], dtype=np.float64, order="F")
    for volume_XYZ in np.moveaxis(data_XYZV, 3, 0):
        total_XYZ += volume_XYZ
    finite_XYZ = np.isfinite(total_XYZ)
    if not finite_XYZ.any():
        raise ImageError(
            "No voxel of the run is finite in all volumes. "
            "Expected numbers; leave the run out, or drop the damaged volumes.",
            code="not-finite",
        )
    mean_XYZ = np.where(finite_XYZ, total_XYZ, 0.0) / data_XYZV.shape[3]
    return finite_XYZ, mean_XYZ.astype(np.float32)


def _check_mask(inside_XYZ: Bools) -> None:
    if not inside_XYZ.any():
        raise ImageError(
            "No voxel of the run lies in its brain mask on the recipe's grid. "
            "Expected a brain; look at the image, or choose preprocessing.grid: native.",
            code="empty-mask",
        )
