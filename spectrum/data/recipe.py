"""Apply a recipe to one run: from an image as scanned to float16 slices, in a fixed order.

Drop initial volumes, grid, brain mask, smoothing, trend and high-pass, standardisation. nilearn
does the science (``grids``, ``temporal``). The fingerprints that say whether a result can be used
again are here too. Not here: where results are kept (``shards``) and who computes them
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
from spectrum.data.grids import Grid, build_grid, find_brain, smooth_within, to_grid
from spectrum.data.images import BoldImage
from spectrum.data.temporal import clean_signals, num_regressors
from spectrum.errors import ImageError

__all__ = [
    "STEP_VERSIONS",
    "RecipeResult",
    "Surroundings",
    "apply_recipe",
    "convert_run",
    "prefix_fingerprints",
    "recipe_fingerprint",
    "recipe_prefixes",
    "run_fingerprint",
]

STEP_VERSIONS: Final[Mapping[str, int]] = {
    "drop": 1,
    "grid": 1,
    "mask": 1,
    "smoothing": 1,
    "temporal": 1,
    "standardization": 1,
    "quality": 1,
}
"""Raised when a step gives other numbers for the same input; part of every fingerprint."""

FLOAT16_MAX: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of a run besides its image.

    ``brain_XYZ`` is a mask on the image's own grid (fMRIPrep), or None to find one; ``is_aligned``
    says that the image is in MNI152 space; ``digests`` names what these came from, for the
    fingerprint.
    """

    brain_XYZ: NDArray[np.bool_] | None = None
    is_aligned: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)


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
        ("temporal", {"detrend": config.detrend, "high_pass_hz": config.high_pass_hz}),
        ("standardization", {"standardization": config.standardization}),
    )


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
    spatial part. TR enters with the first step that reads it.
    """
    steps = _versioned(config)
    found = {}
    for index, (name, _, _) in enumerate(steps):
        inputs: dict[str, Any] = {"image": image_sha256, "digests": dict(digests or {})}
        if index >= [step[0] for step in steps].index("temporal"):
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

    Axes are first turned, without interpolation, so that X runs to the right, Y to the front and Z
    to the top, as near as the scanner's axes allow. A voxel that is not finite in any volume is 0
    in all; so is one that is constant after the temporal fit.

    Parameters
    ----------
    image : as scanned
    tr_s : seconds; the header's or the sidecar's, whichever the run table trusts
    config : the recipe
    surroundings : a mask of the run, if there is one, and whether it is in MNI152 space

    Returns
    -------
    result : float16, (V, S, H, W)

    Raises
    ------
    ImageError
        ``too-short``, ``not-finite``, ``empty-mask``, ``bad-mask``, ``no-signal`` or
        ``not-float16``.
    """
    known = surroundings or Surroundings()
    data_XYZV = image.data_XYZV[..., config.drop_initial_volumes :]
    _check_length(data_XYZV.shape[3], tr_s, config)
    data_XYZV, source, brain_XYZ = _oriented(data_XYZV, image.affine, known.brain_XYZ)
    finite_XYZ, mean_XYZ = _mean_volume(data_XYZV)
    brain_XYZ = find_brain(mean_XYZ, source) if brain_XYZ is None else brain_XYZ
    weights_XYZ = finite_XYZ & (brain_XYZ if config.brain_mask else True)
    _check_mask(weights_XYZ & brain_XYZ)
    grid = build_grid(source, brain_XYZ, config, is_aligned=known.is_aligned)
    data_XYZV, inside_XYZ = to_grid(data_XYZV, weights_XYZ, source, grid)
    _check_mask(inside_XYZ)
    data_XYZV = smooth_within(data_XYZV, inside_XYZ, grid, config.fwhm_mm)
    signals_VN = np.ascontiguousarray(data_XYZV.T[:, inside_XYZ.T])
    cleaned_VN = clean_signals(signals_VN, tr_s=tr_s, config=config)
    scale = _float16_scale(cleaned_VN, config)
    slices_VSHW = np.zeros(data_XYZV.T.shape, dtype=np.float16)
    slices_VSHW[:, inside_XYZ.T] = (cleaned_VN / scale).astype(np.float16)
    return RecipeResult(slices_VSHW=slices_VSHW, scale=scale)


def _check_length(num_volumes: int, tr_s: float, config: PreprocessingConfig) -> None:
    taken = num_regressors(max(num_volumes, 1), tr_s, config)
    least = max(2, taken + 1)
    if num_volumes < least:
        raise ImageError(
            f"The run has {max(num_volumes, 0)} volumes after {config.drop_initial_volumes} are "
            f"dropped, and the temporal steps take {taken}. "
            f"At least {least} are needed; leave the run out or lower preprocessing.high_pass_hz.",
            code="too-short",
        )


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
    total_XYZ = data_XYZV.sum(axis=3, dtype=np.float64)
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
    largest = float(np.abs(cleaned_VN).max())
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
