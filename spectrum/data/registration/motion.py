"""Head motion within a run: where the head lies in each volume, against the run's reference.

The reference is the mean of up to 20 volumes spread over the run, each put where the head lies in
the most typical of them. A mean has less noise than any volume of it, and a volume that is nearest
to the median of the spread ones is never the one with a spike or a jerk, as the middle volume may
be. Six zeros mean the place of that typical volume.

The fit is our own (``rigid_fit``) and held to SimpleITK's by a test. On simulated native runs, to
the same reference and equally smoothed, SimpleITK 2.5.7 took 0.2 to 0.3 s of one core per volume,
with median errors of 0.05 degree (30 slices of 5 mm) and 0.20 (21 of 6 mm); this takes 0.03 s,
with 0.01 and 0.02 (``tests/benchmarks/registration.py``). antspyx 0.6.3 took 0.6 to 1.1 s and
dipy 1.12.1 2.4 s. Not here: moving the voxels
(``resampling``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.quality import otsu_threshold
from spectrum.data.registration.places import (
    Matrix,
    framewise_displacement,
    parameters_of,
    through,
)
from spectrum.data.registration.resampling import resample_volume
from spectrum.data.registration.rigid_fit import (
    Fit,
    Level,
    Target,
    build_target,
    fit_place,
    smoothed,
)
from spectrum.data.registration.threads import in_threads
from spectrum.errors import ImageError

__all__ = ["MIN_VOXELS", "MotionEstimate", "estimate_motion"]

MIN_VOXELS: Final = 5
"""Least voxels along each axis. The outermost do not count, and three planes are the least that
tell a head which nods from one that changes."""

NUM_REFERENCE_VOLUMES: Final = 20

LEAST_FWHM_MM: Final = 5.0
FWHM_OF_LARGEST_EDGE: Final = 1.6
"""Smoothing before the fit: SPM's 5 mm, or 1.6 times the longest edge of a voxel. Thick slices
sample the head so sparsely that interpolation between them looks like motion: with 21 slices of
6 mm the median error of rotation was 0.27 degree at 5 mm and 0.02 at 10 mm."""

FINE_STEP_MM: Final = 6.0
COARSE: Final = 2.0
"""In-plane distance between points of the fit; the first fit is so many times smoother and
coarser, and so finds motions of centimetres."""

LEAST_SIMILARITY: Final = 0.5
"""Correlation with the reference below which a volume does not show the same head. Volumes
of a real run lie above 0.99."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionEstimate:
    """Where the head lies in each volume.

    ``motion_V6`` holds translations along X, Y, Z in millimetres, then rotations about X, Y, Z in
    radians, right-handed, first X, then Y, then Z, about ``center_mm`` (the centre of the head in
    the reference): how the head went from the reference to the volume. ``places_V44`` is the same
    as matrices: a point of the reference times these is where it lies in a volume.
    ``similarity_V`` is the correlation with the reference, -1 to 1. ``reference_XYZ`` is the mean
    of aligned volumes on the run's own grid, what normalisation should see.
    """

    motion_V6: NDArray[np.float64]
    center_mm: NDArray[np.float64]
    places_V44: Matrix
    similarity_V: NDArray[np.float64]
    reference_XYZ: NDArray[np.float32]

    @property
    def fd_mm(self) -> NDArray[np.float64]:
        """Framewise displacement (V,), NaN first."""
        return framewise_displacement(self.motion_V6)


def estimate_motion(
    data_XYZV: NDArray[Any], affine: Matrix, *, num_threads: int = 1
) -> MotionEstimate:
    """Find the rigid motion of the head in a run.

    Parameters
    ----------
    data_XYZV : as scanned, Fortran order is fastest
        A voxel that is not finite in any volume counts as 0 in all.
    affine : (4, 4), voxel indices to millimetres
    num_threads : >= 1; changes no number

    Raises
    ------
    ImageError
        ``motion-impossible`` for fewer than ``MIN_VOXELS`` along an axis, ``no-signal`` for a
        blank run, ``motion-failed`` for volumes that do not show the head of the others.
    """
    _check_shape(data_XYZV.shape)
    run = _Run(data_XYZV, np.asarray(affine, dtype=np.float64))
    spread = np.unique(
        np.linspace(0, data_XYZV.shape[3] - 1, NUM_REFERENCE_VOLUMES).round().astype(int)
    )
    typical_XYZ = run.volume(_most_typical(run, spread))
    inside_XYZ = _head(typical_XYZ, run.affine)
    first = _fitted(run, typical_XYZ, inside_XYZ, spread, num_threads)
    reference_XYZ = _aligned_mean(run, spread, first)
    fits = _fitted(run, reference_XYZ, inside_XYZ, np.arange(data_XYZV.shape[3]), num_threads)
    _check_fits(fits)
    center_mm = _center_mm(inside_XYZ, run.affine)
    return MotionEstimate(
        motion_V6=np.stack([parameters_of(fit.place, center_mm) for fit in fits]),
        center_mm=center_mm,
        places_V44=np.stack([fit.place for fit in fits]),
        similarity_V=np.array([fit.similarity for fit in fits]),
        reference_XYZ=reference_XYZ,
    )


class _Run:
    """A run's volumes, one at a time, with zeros where a voxel is not finite throughout."""

    def __init__(self, data_XYZV: NDArray[Any], affine: Matrix) -> None:
        self._data_XYZV = data_XYZV
        self._finite_XYZ = np.isfinite(data_XYZV.sum(axis=3, dtype=np.float64))
        self.affine = affine

    def volume(self, index: int) -> NDArray[np.float64]:
        """Return one volume."""
        return np.where(self._finite_XYZ, self._data_XYZV[..., index], 0).astype(np.float64)


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or min(shape[:3]) < MIN_VOXELS or shape[3] < 1:
        raise ImageError(
            f"The run has the shape {shape}, and motion in three dimensions cannot be seen in it. "
            f"Expected at least {MIN_VOXELS} voxels along X, Y and Z; switch motion correction "
            "off for this data set, or leave the run out.",
            code="motion-impossible",
        )


def _most_typical(run: _Run, spread: NDArray[Any]) -> int:
    """Return the volume nearest to the median of some, levels aside."""
    volumes = np.stack([run.volume(int(index)).ravel().astype(np.float32) for index in spread])
    levels = np.maximum(volumes.mean(axis=1, keepdims=True), 1e-30)
    volumes = volumes / levels
    distance = np.square(volumes - np.median(volumes, axis=0)).sum(axis=1)
    return int(spread[np.argmin(distance)])


def _head(volume_XYZ: NDArray[np.float64], affine: Matrix) -> NDArray[np.bool_]:
    """Return the head and one voxel around it, where the edge is."""
    from scipy.ndimage import binary_dilation

    smooth_XYZ = smoothed(volume_XYZ, affine, LEAST_FWHM_MM)
    head_XYZ = smooth_XYZ > otsu_threshold(smooth_XYZ)
    if not head_XYZ.any():
        raise ImageError(
            "Every voxel of a typical volume of the run has the same value. "
            "Expected a head; look at the image, or leave the run out by name.",
            code="no-signal",
        )
    return np.asarray(binary_dilation(head_XYZ))


def _center_mm(inside_XYZ: NDArray[np.bool_], affine: Matrix) -> NDArray[np.float64]:
    center = np.argwhere(inside_XYZ).mean(axis=0)
    return through(affine, center[:, None])[:, 0]


def _levels(affine: Matrix) -> tuple[Level, Level]:
    """Return how the first and the final fit compare."""
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    fwhm_mm = max(LEAST_FWHM_MM, FWHM_OF_LARGEST_EDGE * float(voxel_mm.max()))
    stride = max(1, round(FINE_STEP_MM / float(voxel_mm.min())))
    coarse = Level(fwhm_mm=COARSE * fwhm_mm, stride=round(COARSE * stride), order=1)
    return coarse, Level(fwhm_mm=fwhm_mm, stride=stride, order=3)


def _fitted(
    run: _Run,
    reference_XYZ: NDArray[Any],
    inside_XYZ: NDArray[np.bool_],
    indices: NDArray[Any],
    num_threads: int,
) -> list[Fit]:
    """Fit some volumes to a reference, coarse then fine, each on its own."""
    center_mm = _center_mm(inside_XYZ, run.affine)
    targets = [
        build_target(reference_XYZ, run.affine, inside_XYZ, center_mm, level)
        for level in _levels(run.affine)
    ]
    return in_threads(
        lambda index: _fit_twice(run.volume(int(index)), targets), indices, num_threads
    )


def _fit_twice(volume_XYZ: NDArray[np.float64], targets: list[Target]) -> Fit:
    coarse = fit_place(volume_XYZ, targets[0], np.eye(4))
    return fit_place(volume_XYZ, targets[1], coarse.place if coarse.is_converged else np.eye(4))


def _aligned_mean(run: _Run, indices: NDArray[Any], fits: list[Fit]) -> NDArray[np.float32]:
    """Return the mean of some volumes where the head lies in the reference.

    A point that a volume does not show is left out of its mean. Volumes that do not fit are left
    out whole; whether they spoil the run is judged later.
    """
    total, counts = np.zeros((2, *run.volume(0).shape))
    for index, fit in zip(indices, fits, strict=True):
        if _is_good(fit):
            moved, seen = resample_volume(run.volume(int(index)), run.affine, fit.place)
            total += np.where(seen, moved, 0.0)
            counts += seen
    return np.asarray(total / np.maximum(counts, 1.0), dtype=np.float32)


def _is_good(fit: Fit) -> bool:
    return fit.is_converged and fit.similarity >= LEAST_SIMILARITY


def _check_fits(fits: list[Fit]) -> None:
    bad = [index for index, fit in enumerate(fits) if not _is_good(fit)]
    if bad:
        worst = min(bad, key=lambda index: fits[index].similarity)
        named = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
        raise ImageError(
            f"{len(bad)} of {len(fits)} volumes cannot be aligned with the run's reference "
            f"(counted from 0: {named}; volume {worst} has a correlation of "
            f"{fits[worst].similarity:.2f}). Expected the same head in all; look at these "
            "volumes, drop them if they are the first, or leave the run out.",
            code="motion-failed",
        )
