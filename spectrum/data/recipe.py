"""Apply a recipe to one run: from an image as scanned to float16 slices, in a fixed order.

The spatial part (``apply_spatial``): drop initial volumes, grid, brain mask. The cheap rest
(``finish_recipe``): smoothing, one fit of confounds, trend and filters, standardisation. Recipes
that differ in the rest alone share the spatial part. The fingerprints that say whether a result
can be used again are here too. Not here: where results are kept (``shards``) and who computes them
(``pipeline``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig, fingerprint
from spectrum.data.confounds import Confounds, build_regressors
from spectrum.data.grids import Grid, build_grid, find_brain
from spectrum.data.images import BoldImage
from spectrum.data.resampling import to_grid
from spectrum.data.smoothing import smooth_within
from spectrum.data.temporal import TemporalFit, build_fit, clean_signals
from spectrum.errors import ImageError

__all__ = [
    "SPATIAL_STEPS",
    "STEP_VERSIONS",
    "RecipeResult",
    "SpatialResult",
    "Surroundings",
    "apply_recipe",
    "apply_spatial",
    "convert_run",
    "finish_recipe",
    "prefix_fingerprints",
    "recipe_fingerprint",
    "recipe_prefixes",
    "run_fingerprint",
]

STEP_VERSIONS: Final[Mapping[str, int]] = {
    "drop": 1,
    "grid": 2,
    "mask": 1,
    "smoothing": 2,
    "temporal": 2,
    "standardization": 2,
    "quality": 1,
}
"""Raised when a step gives other numbers for the same input; part of every fingerprint."""

SPATIAL_STEPS: Final = ("drop", "grid", "mask")
"""Steps of ``apply_spatial``; the fingerprint of the last one names its result."""

FLOAT16_MAX: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of a run besides its image.

    ``brain_XYZ`` is a mask on the image's own grid (fMRIPrep), or None to find one; ``is_aligned``
    says that the image is in MNI152 space; ``motion_V6`` are shifts along and turns about x, y and
    z of every volume as scanned, millimetres and radians, from the recipe's own motion correction;
    ``confounds`` are from a table of fMRIPrep; ``digests`` names what these came from, for the
    fingerprint.
    """

    brain_XYZ: NDArray[np.bool_] | None = None
    is_aligned: bool = False
    motion_V6: NDArray[np.float64] | None = None
    confounds: Confounds | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialResult:
    """A run on its final grid: float32 voxels inside the mask, in scanner units.

    ``signals_VN`` has the voxels of ``inside_XYZ`` with X fastest; ``grid`` is that of the mask.
    """

    signals_VN: NDArray[np.float32]
    inside_XYZ: NDArray[np.bool_]
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """``slices_VSHW`` is float16 and finite; the recipe's numbers are these times ``scale``."""

    slices_VSHW: NDArray[np.float16]
    scale: float


def recipe_prefixes(config: PreprocessingConfig) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the steps in their order, each with the settings that only it reads.

    Examples
    --------
    >>> [name for name, _ in recipe_prefixes(PreprocessingConfig())]
    ['drop', 'grid', 'mask', 'smoothing', 'temporal', 'standardization']
    """
    grid: dict[str, Any] = {"grid": config.grid}
    if config.grid == "matrix":
        grid["matrix"] = list(config.matrix or ())
    if config.grid == "common":
        grid["voxel_mm"] = config.voxel_mm
    return (
        ("drop", {"drop_initial_volumes": config.drop_initial_volumes}),
        ("grid", grid),
        ("mask", {"brain_mask": config.brain_mask}),
        ("smoothing", {"fwhm_mm": config.fwhm_mm}),
        ("temporal", _temporal_settings(config)),
        ("standardization", {"standardization": config.standardization}),
    )


def _temporal_settings(config: PreprocessingConfig) -> dict[str, Any]:
    names = ("confounds", "global_signal", "tissue_signals", "compcor_components", "detrend")
    cutoffs = ("temporal_filter", "high_pass_hz", "low_pass_hz")
    return {name: getattr(config, name) for name in (*names, *cutoffs)}


def recipe_fingerprint(config: PreprocessingConfig) -> str:
    """Return the fingerprint of all steps and their versions, without any input."""
    return fingerprint({"steps": _versioned(config), "quality": STEP_VERSIONS["quality"]})


def run_fingerprint(
    image_sha256: str,
    tr_s: float,
    config: PreprocessingConfig,
    digests: Mapping[str, str] | None = None,
) -> str:
    """Return what names the result of the whole recipe on one run.

    Parameters
    ----------
    image_sha256 : digest of the image file
    tr_s : seconds
    config : the recipe
    digests : of further inputs of this run, such as its mask and its confounds table
    """
    inputs = {"image": image_sha256, "tr_s": tr_s, "digests": dict(digests or {})}
    return fingerprint({"recipe": recipe_fingerprint(config), **inputs})


def prefix_fingerprints(
    image_sha256: str,
    tr_s: float,
    config: PreprocessingConfig,
    digests: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return a fingerprint for the result after each step, by the step's name.

    Two recipes that differ only in later steps share those of the earlier ones; ``mask`` ends the
    spatial part. TR and tables of confounds enter with the first step that reads them.
    """
    steps = _versioned(config)
    first_in_time = [step[0] for step in steps].index("temporal")
    found = {}
    for index, (name, _, _) in enumerate(steps):
        is_in_time = index >= first_in_time
        known = {
            key: digest
            for key, digest in (digests or {}).items()
            if is_in_time or not key.startswith("confounds")
        }
        inputs: dict[str, Any] = {"image": image_sha256, "digests": known}
        if is_in_time:
            inputs["tr_s"] = tr_s
        found[name] = fingerprint({"steps": steps[: index + 1], **inputs})
    return found


def _versioned(config: PreprocessingConfig) -> list[tuple[str, int, dict[str, Any]]]:
    return [(name, STEP_VERSIONS[name], settings) for name, settings in recipe_prefixes(config)]


def apply_recipe(
    image: BoldImage,
    *,
    tr_s: float,
    config: PreprocessingConfig,
    surroundings: Surroundings | None = None,
) -> NDArray[np.float16]:
    """Return the axial slices of one run: S is Z, upwards; H is Y, forwards; W is X, rightwards.

    See ``convert_run``, which also returns the scale of ``standardization: none``.
    """
    return convert_run(image, tr_s=tr_s, config=config, surroundings=surroundings).slices_VSHW


def convert_run(
    image: BoldImage,
    *,
    tr_s: float,
    config: PreprocessingConfig,
    surroundings: Surroundings | None = None,
) -> RecipeResult:
    """Apply every step of a recipe to one run.

    Parameters
    ----------
    image : as scanned
    tr_s : seconds; the header's or the sidecar's, whichever the run table trusts
    config : the recipe
    surroundings : what is known besides the image

    Returns
    -------
    result : float16, (V, S, H, W)

    Raises
    ------
    ImageError
        A code of ``apply_spatial`` or of ``finish_recipe``; what can be refused without looking at
        a voxel is refused first.
    """
    known = surroundings or Surroundings()
    num_volumes = image.data_XYZV.shape[3] - config.drop_initial_volumes
    _build_fit(num_volumes, tr_s, config, known)
    spatial = apply_spatial(image, config=config, surroundings=known)
    return finish_recipe(spatial, tr_s=tr_s, config=config, surroundings=known)


def apply_spatial(
    image: BoldImage, *, config: PreprocessingConfig, surroundings: Surroundings | None = None
) -> SpatialResult:
    """Apply the steps up to the mask: the part that recipes share.

    Axes are first turned, without interpolation, so that X runs to the right, Y to the front and Z
    to the top, as near as the scanner's axes allow. A voxel that is not finite in any volume is
    outside.

    Parameters
    ----------
    image : as scanned
    config : the recipe; only what ``SPATIAL_STEPS`` read counts
    surroundings : a mask of the run, if there is one, and whether it is in MNI152 space

    Raises
    ------
    ImageError
        ``too-short``, ``not-finite``, ``empty-mask`` or ``bad-mask``.
    """
    known = surroundings or Surroundings()
    data_XYZV = image.data_XYZV[..., config.drop_initial_volumes :]
    if not data_XYZV.shape[3]:
        raise ImageError(
            f"The run has {image.data_XYZV.shape[3]} volumes and all of them are dropped. "
            "Lower preprocessing.drop_initial_volumes, or leave the run out.",
            code="too-short",
        )
    data_XYZV, source, brain_XYZ = _oriented(data_XYZV, image.affine, known.brain_XYZ)
    finite_XYZ, mean_XYZ = _mean_volume(data_XYZV)
    brain_XYZ = find_brain(mean_XYZ, source) if brain_XYZ is None else brain_XYZ
    weights_XYZ = finite_XYZ & (brain_XYZ if config.brain_mask else True)
    _check_mask(weights_XYZ & brain_XYZ)
    grid = build_grid(source, brain_XYZ, config, is_aligned=known.is_aligned)
    signals_VN, inside_XYZ = to_grid(data_XYZV, weights_XYZ, source, grid)
    _check_mask(inside_XYZ)
    return SpatialResult(signals_VN=signals_VN, inside_XYZ=inside_XYZ, grid=grid)


def finish_recipe(
    spatial: SpatialResult,
    *,
    tr_s: float,
    config: PreprocessingConfig,
    surroundings: Surroundings | None = None,
) -> RecipeResult:
    """Apply the steps after the mask; ``spatial`` is left as it is.

    A voxel that is constant after the temporal fit is 0.

    Parameters
    ----------
    spatial : of the same recipe's ``apply_spatial``, or of one that differs in later steps alone
    tr_s : seconds
    config : the recipe
    surroundings : motion and confounds of the whole run

    Raises
    ------
    ImageError
        ``too-short``, ``no-signal``, ``not-float16``, a code of ``confounds.build_regressors`` or
        of ``temporal.build_fit``.
    """
    num_volumes = len(spatial.signals_VN)
    fit = _build_fit(num_volumes, tr_s, config, surroundings or Surroundings())
    signals_VN = smooth_within(
        spatial.signals_VN, spatial.inside_XYZ, spatial.grid, config.fwhm_mm
    )
    cleaned_VN = clean_signals(signals_VN, fit=fit, config=config)
    scale = _float16_scale(cleaned_VN, config)
    slices_VSHW = np.zeros((num_volumes, *spatial.grid.shape[::-1]), dtype=np.float16)
    at_N = np.flatnonzero(spatial.inside_XYZ.T)
    for flat, signals_N in zip(slices_VSHW.reshape(num_volumes, -1), cleaned_VN, strict=True):
        flat[at_N] = (signals_N / np.float32(scale)).astype(np.float16)
    return RecipeResult(slices_VSHW=slices_VSHW, scale=scale)


def _build_fit(
    num_volumes: int, tr_s: float, config: PreprocessingConfig, known: Surroundings
) -> TemporalFit:
    regressors_VK = build_regressors(config, motion_V6=known.motion_V6, confounds=known.confounds)
    if regressors_VK is not None and len(regressors_VK) != max(num_volumes, 0):
        raise ImageError(
            f"The run keeps {num_volumes} volumes and its confounds {len(regressors_VK)}. "
            "Both must be of one run; make the derivatives again.",
            code="bad-confounds",
        )
    return build_fit(num_volumes, tr_s=tr_s, config=config, regressors_VK=regressors_VK)


def _oriented(
    data_XYZV: NDArray[Any],
    affine: NDArray[np.float64],
    brain_XYZ: NDArray[np.bool_] | None,
) -> tuple[NDArray[Any], Grid, NDArray[np.bool_] | None]:
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


def _mean_volume(data_XYZV: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
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


def _check_mask(inside_XYZ: NDArray[np.bool_]) -> None:
    if not inside_XYZ.any():
        raise ImageError(
            "No voxel of the run lies in its brain mask on the recipe's grid. "
            "Expected a brain; look at the image, or choose preprocessing.grid: native.",
            code="empty-mask",
        )


def _float16_scale(cleaned_VN: NDArray[np.float32], config: PreprocessingConfig) -> float:
    """Return the power of two to divide by: 1 but for scanner units that float16 cannot hold."""
    largest = float(max(cleaned_VN.max(), -cleaned_VN.min()))
    if largest == 0.0:
        raise ImageError(
            "Every voxel of the run is constant in time. "
            "Expected signals; leave the run out by name.",
            code="no-signal",
        )
    if config.standardization == "none":
        fits = 1.0 <= largest <= FLOAT16_MAX
        return 1.0 if fits else math.ldexp(1.0, math.frexp(largest)[1] - 15)
    if largest > FLOAT16_MAX:
        raise ImageError(
            f"The recipe makes values of {largest:.4g}, and float16 holds {FLOAT16_MAX:.0f}. "
            "Choose another preprocessing.standardization, or set preprocessing.brain_mask: true.",
            code="not-float16",
        )
    return 1.0
