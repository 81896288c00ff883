"""Spatial normalisation: the affine from MNI152 to a run's mean volume, and whether to trust it.

Both brains are cut out of their images and levelled (``_levelled``): air is 0, the brain 1 with
little of its contrast. The first two stages compare outlines (mean squares), the last one outline
and tissues by mutual information, whatever their contrast. A result is judged by overlap and by
its shape, and an implausible one is an error, never a silent shard. Not here: the optimiser
(``itk``) and the voxels (``resampling``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.data.registration.itk import Brain, fit_affine
from spectrum.data.registration.places import Matrix, place_matrix, through
from spectrum.data.registration.template import TEMPLATE_MM, Template, mni152
from spectrum.errors import ImageError

__all__ = [
    "LEAST_COVERAGE",
    "LEAST_DICE",
    "MOST_ANISOTROPY",
    "MOST_TURN_DEGREES",
    "SCALE_BOUNDS",
    "Normalisation",
    "normalise",
]

INNER_CONTRAST: Final = 0.06
"""Largest difference from the brain's median, over the step between brain and air. Of 0.5, 0.2,
0.1 and 0.06 the last left points of planted brains nearest (0.6, 0.7, 0.5 and 0.4 mm), and
simulated heads overlapped better the smaller it was. With 0, tissues have no say."""

SPREAD_SD: Final = 2.0
"""Robust standard deviations from the brain's median at which intensities are cut."""

RIM_MM: Final = 20.0
"""How far around the template's brain voxels are compared: air must be seen to be left out."""

START_PITCHES: Final = (0.0, 0.3, -0.3)
"""Radians about X to start from, in turn until a result is plausible: slabs are tilted most in
pitch."""

MIN_VOXELS: Final = 5
"""Least voxels along each axis that show a brain's shape, as for motion."""

LEAST_DICE: Final = 0.8
"""Overlap of the run's brain and the template's within the field of view. Right results have 0.88
to 0.96 (simulated heads and a real run); the template 20 mm off itself has 0.8."""

SCALE_BOUNDS: Final = (0.65, 1.4)
"""Run over template along any direction. MNI152 is larger than most brains: right results lie
between 0.8 and 1.05."""

MOST_ANISOTROPY: Final = 1.5
"""Largest over smallest scale; shear counts as both."""

MOST_TURN_DEGREES: Final = 60.0
"""Beyond this the affine of the image says the wrong orientation."""

LEAST_COVERAGE: Final = 0.6
"""Share of the template's brain within the run's field of view; less does not hold an affine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """An affine and what speaks for it.

    ``to_run`` (4, 4) maps millimetres of MNI152 to those of the run (of the reference, where
    motion was estimated): what ``resample_run`` needs. ``dice`` is the overlap of the run's brain
    and the template's within the field of view, 0 to 1; ``coverage`` the share of the template's
    brain in there; ``scales`` are the singular values of ``to_run``, run over template;
    ``turn_degrees`` its rotation.
    """

    to_run: Matrix
    dice: float
    coverage: float
    scales: tuple[float, float, float]
    turn_degrees: float


def normalise(
    mean_XYZ: NDArray[Any], brain_XYZ: NDArray[np.bool_], affine: Matrix
) -> Normalisation:
    """Register a run's mean volume to MNI152 with twelve parameters.

    Parameters
    ----------
    mean_XYZ : mean volume after motion correction, finite
    brain_XYZ : its brain
    affine : (4, 4), voxel indices to millimetres
        Says the orientation within ``MOST_TURN_DEGREES``; the place may be anything, since the
        brains' centres of mass are laid on each other first. A brain that it lays upside down may
        pass: the outline is nearly the same.

    Raises
    ------
    ImageError
        ``empty-mask``, ``normalisation-impossible`` for fewer than ``MIN_VOXELS`` along an axis,
        or ``registration-failed`` with the numbers that are out of bounds.
    """
    _check_input(mean_XYZ, brain_XYZ)
    template = mni152()
    found = None
    for pitch in START_PITCHES:
        found = _registered(mean_XYZ, brain_XYZ, affine, template, pitch)
        if not _doubts(found):
            return found
    assert found is not None
    raise ImageError(
        f"The registration of the run to MNI152 is not to be believed: {_doubts(found)[0]}. "
        "Look at the mean volume, its affine and its brain mask; leave the run out, or switch "
        "normalisation off.",
        code="registration-failed",
    )


def _check_input(mean_XYZ: NDArray[Any], brain_XYZ: NDArray[np.bool_]) -> None:
    if min(mean_XYZ.shape) < MIN_VOXELS:
        raise ImageError(
            f"The run has volumes of {mean_XYZ.shape} voxels, too few to know a brain's shape. "
            f"Expected at least {MIN_VOXELS} along X, Y and Z; switch normalisation off for this "
            "data set, or leave the run out.",
            code="normalisation-impossible",
        )
    if not brain_XYZ.any():
        raise ImageError(
            "No voxel of the run lies in its brain mask, so nothing can be normalised. "
            "Expected a brain; look at the image, or leave the run out.",
            code="empty-mask",
        )


def _registered(
    mean_XYZ: NDArray[Any],
    brain_XYZ: NDArray[np.bool_],
    affine: Matrix,
    template: Template,
    pitch: float,
) -> Normalisation:
    center_mm = _center_mm(template.brain_XYZ, template.affine)
    shift_mm = _center_mm(brain_XYZ, affine) - center_mm
    fixed = Brain(
        intensity_XYZ=_levelled(template.intensity_XYZ, template.brain_XYZ),
        compared_XYZ=_grown(template.brain_XYZ, RIM_MM / TEMPLATE_MM),
        affine=template.affine,
    )
    moving = Brain(
        intensity_XYZ=_levelled(mean_XYZ, brain_XYZ), compared_XYZ=brain_XYZ, affine=affine
    )
    start = place_matrix(np.array([*shift_mm, pitch, 0.0, 0.0]), center_mm)
    return _judged(fit_affine(fixed, moving, start, center_mm), brain_XYZ, affine, template)


def _levelled(volume_XYZ: NDArray[Any], brain_XYZ: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return 0 outside the brain and 1 inside, give or take ``INNER_CONTRAST``."""
    inside = volume_XYZ[brain_XYZ].astype(np.float64)
    low, middle, high = (float(np.percentile(inside, p)) for p in (15.87, 50.0, 84.13))
    sd = max((high - low) / 2.0, 1e-30)
    inner = np.clip((volume_XYZ - middle) / (SPREAD_SD * sd), -1.0, 1.0)
    return np.where(brain_XYZ, 1.0 + INNER_CONTRAST * inner, 0.0).astype(np.float32)


def _grown(mask_XYZ: NDArray[np.bool_], voxels: float) -> NDArray[np.bool_]:
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~mask_XYZ) <= voxels)


def _center_mm(brain_XYZ: NDArray[np.bool_], affine: Matrix) -> NDArray[np.float64]:
    return through(affine, np.argwhere(brain_XYZ).mean(axis=0)[:, None])[:, 0]


def _judged(
    to_run: Matrix, brain_XYZ: NDArray[np.bool_], affine: Matrix, template: Template
) -> Normalisation:
    index = np.indices(template.brain_XYZ.shape).reshape(3, -1)
    nearest = np.rint(through(np.linalg.inv(affine) @ to_run @ template.affine, index)).astype(int)
    seen = ((nearest >= 0) & (nearest < np.array(brain_XYZ.shape)[:, None])).all(axis=0)
    ours = brain_XYZ[tuple(nearest[:, seen])]
    theirs = template.brain_XYZ.ravel()[seen]
    both, either = int(np.count_nonzero(ours & theirs)), int(ours.sum()) + int(theirs.sum())
    left, scales, right = np.linalg.svd(to_run[:3, :3])
    x, y, z = (float(scale) for scale in scales)
    return Normalisation(
        to_run=to_run,
        dice=2.0 * both / max(1, either),
        coverage=float(theirs.sum()) / float(template.brain_XYZ.sum()),
        scales=(x, y, z),
        turn_degrees=_turn_degrees(left @ right),
    )


def _turn_degrees(turn: Matrix) -> float:
    """Return the angle of a rotation; 180 where it mirrors."""
    if np.linalg.det(turn) < 0:
        return 180.0
    return math.degrees(math.acos(float(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0))))


def _doubts(found: Normalisation) -> list[str]:
    """Say what is out of bounds, worst first."""
    low, high = SCALE_BOUNDS
    most, least = found.scales[0], found.scales[2]
    bounds = (
        (
            found.dice >= LEAST_DICE,
            f"brains overlap by {found.dice:.2f} (at least {LEAST_DICE})",
        ),
        (
            low <= least and most <= high,
            f"it scales by {least:.2f} to {most:.2f} (between {low} and {high})",
        ),
        (
            most <= MOST_ANISOTROPY * least,
            f"it stretches one way by {most / max(least, 1e-9):.2f} (at most {MOST_ANISOTROPY})",
        ),
        (
            found.turn_degrees <= MOST_TURN_DEGREES,
            f"it turns by {found.turn_degrees:.0f} degrees (at most {MOST_TURN_DEGREES:.0f})",
        ),
        (
            found.coverage >= LEAST_COVERAGE,
            f"{found.coverage:.2f} of the brain is in view (at least {LEAST_COVERAGE})",
        ),
    )
    return [text for is_met, text in bounds if not is_met]
