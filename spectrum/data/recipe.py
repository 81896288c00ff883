"""Apply a recipe to one run: from an image as scanned to float16 slices, in a fixed order.

The spatial part (``spatial``): drop initial volumes, motion, slice timing, normalisation, grid,
brain mask. The cheap rest (``finish_recipe``): smoothing, one fit of confounds, trend and filters,
standardisation. Recipes that differ in the rest alone share the spatial part. The fingerprints
that say whether a result can be used again are here too. Not here: where results are kept
(``shards``) and who computes them (``pipeline``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig, fingerprint
from spectrum.data.confounds import build_regressors
from spectrum.data.images import BoldImage
from spectrum.data.smoothing import smooth_within
from spectrum.data.spatial import SpatialResult, Surroundings, apply_spatial
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
    "check_fit",
    "convert_run",
    "finish_recipe",
    "prefix_fingerprints",
    "recipe_fingerprint",
    "recipe_prefixes",
    "run_fingerprint",
]

STEP_VERSIONS: Final[Mapping[str, int]] = {
    "drop": 1,
    "motion": 1,
    "slice_timing": 1,
    "normalization": 1,
    "grid": 2,
    "mask": 1,
    "smoothing": 2,
    "temporal": 2,
    "standardization": 2,
    "quality": 2,
}
"""Raised when a step gives other numbers for the same input; part of every fingerprint."""

SPATIAL_STEPS: Final = ("drop", "motion", "slice_timing", "normalization", "grid", "mask")
"""Steps of ``apply_spatial``; the fingerprint of the last one names its result."""

FLOAT16_MAX: Final = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeResult:
    """``slices_VSHW`` is float16 and finite; the recipe's numbers are these times ``scale``."""

    slices_VSHW: NDArray[np.float16]
    scale: float


def recipe_prefixes(config: PreprocessingConfig) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return the steps in their order, each with the settings that only it reads.

    Examples
    --------
    >>> [name for name, _ in recipe_prefixes(PreprocessingConfig())][:6]
    ['drop', 'motion', 'slice_timing', 'normalization', 'grid', 'mask']
    """
    grid: dict[str, Any] = {"grid": config.grid}
    if config.grid == "matrix":
        grid["matrix"] = list(config.matrix or ())
    if config.grid == "common":
        grid["voxel_mm"] = config.voxel_mm
    return (
        ("drop", {"drop_initial_volumes": config.drop_initial_volumes}),
        ("motion", {"motion_correction": config.motion_correction}),
        ("slice_timing", {"slice_timing": config.slice_timing}),
        ("normalization", {"normalization": config.normalization}),
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
    names = [step[0] for step in steps]
    first_in_time = names.index("temporal")
    first_with_tr = first_in_time if config.slice_timing == "off" else names.index("slice_timing")
    found = {}
    for index, (name, _, _) in enumerate(steps):
        is_in_time = index >= first_in_time
        known = {
            key: digest
            for key, digest in (digests or {}).items()
            if is_in_time or not key.startswith("confounds")
        }
        inputs: dict[str, Any] = {"image": image_sha256, "digests": known}
        if index >= first_with_tr:
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
    check_fit(num_volumes, tr_s, config, known)
    spatial = apply_spatial(image, tr_s=tr_s, config=config, surroundings=known)
    return finish_recipe(spatial, tr_s=tr_s, config=config, surroundings=known)


def check_fit(
    num_volumes: int, tr_s: float, config: PreprocessingConfig, known: Surroundings
) -> None:
    """Raise ImageError for a run that ``finish_recipe`` would refuse, before it is read further.

    Parameters
    ----------
    num_volumes : that are kept
    """
    if not config.motion_correction:
        _build_fit(num_volumes, tr_s, config, known)


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
        Motion that ``spatial`` brings counts instead of what is given here.

    Raises
    ------
    ImageError
        ``too-short``, ``no-signal``, ``not-float16``, a code of ``confounds.build_regressors`` or
        of ``temporal.build_fit``.
    """
    num_volumes = len(spatial.signals_VN)
    known = surroundings or Surroundings()
    if spatial.motion_V6 is not None:
        known = replace(known, motion_V6=_of_whole_run(spatial.motion_V6, config))
    fit = _build_fit(num_volumes, tr_s, config, known)
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


def _of_whole_run(
    motion_V6: NDArray[np.float64], config: PreprocessingConfig
) -> NDArray[np.float64]:
    """Return motion with rows for the volumes that are dropped: the head as it lies first."""
    return np.vstack([np.repeat(motion_V6[:1], config.drop_initial_volumes, axis=0), motion_V6])


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
