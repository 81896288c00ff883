"""What happens to voxels over time: one fit of all that is unwanted, then standardisation.

Confounds, trend and high-pass are columns of one least-squares fit; a Butterworth filter is
applied to signals and columns alike before it, so that no step brings back what another has
removed (Lindquist et al. 2019). Both are one linear map over the volumes, found in float64 and
applied in float32, a block of voxels at a time: the numbers are those of ``nilearn.signal.clean``.
Not here: where voxels lie (``grids``), where regressors come from (``confounds``), and the order
of the steps (``recipe``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.filters import butterworth_matrix, butterworth_rim, cosines, orthonormal, trend
from spectrum.errors import ImageError

__all__ = ["TemporalFit", "build_fit", "clean_signals"]

CONSTANT_FRACTION: Final = 1e-5
"""A voxel whose SD is below this share of its largest value is constant: float32 has 7 digits."""

BASELINE_FRACTION: Final = 1e-3
"""Percent signal change is not defined for a voxel whose mean is below this share of the 95th
percentile of all means."""

BLOCK_VOXELS: Final = 4096
"""Voxels treated at once, so that a block stays in the cache."""

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalFit:
    """A linear map over the volumes of a run, for signals without their mean.

    ``filter_VV`` comes first, where it is not None; then the orthonormal ``basis_VK`` is projected
    out. ``keeps_mean`` says whether a signal's mean passes; ``num_regressors`` counts the degrees
    of freedom that the fit takes, the mean included where it is removed, rounded up.
    """

    basis_VK: Float32
    filter_VV: Float32 | None
    keeps_mean: bool
    num_regressors: int


def build_fit(
    num_volumes: int,
    *,
    tr_s: float,
    config: PreprocessingConfig,
    regressors_VK: Float64 | None = None,
) -> TemporalFit:
    """Return the fit of a recipe for a run of this length.

    Parameters
    ----------
    num_volumes : after initial volumes were dropped
    tr_s : seconds
    config : detrend, filter and standardisation
    regressors_VK : volumes by confounds, finite; None for none

    Raises
    ------
    ImageError
        ``too-short`` where the fit leaves nothing of the run, or the filter needs more volumes;
        ``above-nyquist`` where volumes are too far apart for a cut-off.
    """
    least = max(2, _check_cutoffs(tr_s, config) + 1)
    if num_volumes < least:
        raise _too_short(num_volumes, config, f"at least {least} are needed")
    if regressors_VK is None:
        regressors_VK = np.zeros((num_volumes, 0))
    if config.temporal_filter == "butterworth":
        fit = _filter_fit(num_volumes, tr_s, config, regressors_VK)
    else:
        fit = _cosine_fit(num_volumes, tr_s, config, regressors_VK)
    if num_volumes <= fit.num_regressors:
        what = f"confounds, trend and filter take {fit.num_regressors} degrees of freedom"
        raise _too_short(num_volumes, config, what)
    return fit


def _cosine_fit(
    num_volumes: int, tr_s: float, config: PreprocessingConfig, regressors_VK: Float64
) -> TemporalFit:
    """Return one basis of confounds, trend and slow cosines."""
    columns = [regressors_VK, cosines(num_volumes, tr_s, config.high_pass_hz)]
    columns += [trend(num_volumes)] if config.detrend else []
    basis_VK = orthonormal(np.hstack(columns))
    is_centred = config.detrend or config.standardization in ("zscore", "percent")
    return TemporalFit(
        basis_VK=basis_VK.astype(np.float32),
        filter_VV=None,
        keeps_mean=not config.detrend,
        num_regressors=basis_VK.shape[1] + int(is_centred),
    )


def _filter_fit(
    num_volumes: int, tr_s: float, config: PreprocessingConfig, regressors_VK: Float64
) -> TemporalFit:
    """Return detrending, Butterworth and regression as one (V, V) matrix, in nilearn's order.

    White noise keeps as many degrees of freedom as the sum of the squares of the matrix.
    """
    matrix = butterworth_matrix(
        num_volumes, tr_s, high_pass_hz=config.high_pass_hz, low_pass_hz=config.low_pass_hz
    )
    if config.detrend:
        line = orthonormal(trend(num_volumes))
        matrix = matrix - (matrix @ line) @ line.T
    basis = orthonormal(matrix @ (regressors_VK - regressors_VK.mean(axis=0)))
    matrix = matrix - basis @ (basis.T @ matrix)
    left = float(np.square(matrix - matrix.mean(axis=1, keepdims=True)).sum())
    return TemporalFit(
        basis_VK=np.zeros((num_volumes, 0), dtype=np.float32),
        filter_VV=matrix.astype(np.float32),
        keeps_mean=not (config.detrend or config.high_pass_hz > 0),
        num_regressors=num_volumes - math.floor(left),
    )


def _check_cutoffs(tr_s: float, config: PreprocessingConfig) -> int:
    """Return how many volumes the filter mirrors at an end of the run."""
    if config.temporal_filter == "cosine":
        return 0
    cut = {"high_pass_hz": config.high_pass_hz, "low_pass_hz": config.low_pass_hz}
    nyquist_hz = 0.5 / tr_s
    for name, hz in cut.items():
        if hz >= nyquist_hz:
            raise ImageError(
                f"preprocessing.{name} is {hz:g} Hz, and volumes {tr_s:g} s apart hold no more "
                f"than {nyquist_hz:g} Hz. Set it below, or to 0.",
                code="above-nyquist",
            )
    return butterworth_rim(tr_s, **cut)


def _too_short(num_volumes: int, config: PreprocessingConfig, why: str) -> ImageError:
    return ImageError(
        f"The run has {max(num_volumes, 0)} volumes after {config.drop_initial_volumes} are "
        f"dropped, and {why}. "
        "Leave the run out, or take fewer confounds or weaker filters.",
        code="too-short",
    )


def clean_signals(
    signals_VN: Float32, *, fit: TemporalFit, config: PreprocessingConfig
) -> Float32:
    """Fit and remove what is unwanted, then standardise.

    Parameters
    ----------
    signals_VN : volumes by voxels, finite
    fit : of ``build_fit``, for as many volumes
    config : how to standardise

    Returns
    -------
    cleaned_VN : finite; voxels that are constant after the fit are 0
        Removing the trend removes the mean, as nilearn does; the cosines alone keep it.
    """
    how = config.standardization
    out = np.empty_like(signals_VN)
    mean_N = np.empty(signals_VN.shape[1])
    is_live_N = np.empty(signals_VN.shape[1], dtype=bool)
    for block in _blocks(signals_VN.shape[1]):
        found = _fit_block(signals_VN[:, block], fit)
        mean_N[block], is_live_N[block] = found.mean_N, found.is_live_N
        out[:, block] = found.standardized(how, keeps_mean=fit.keeps_mean)
    if how == "percent":
        is_live_N &= mean_N > BASELINE_FRACTION * np.percentile(np.abs(mean_N), 95)
    if how == "volume":
        return _standardized_volumes(out, is_live_N)
    if not is_live_N.all():
        out[:, ~is_live_N] = 0.0
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class _FittedBlock:
    """Some voxels after the fit: what is left, and the mean that they had before."""

    residual_VN: Float32
    mean_N: Float64
    is_live_N: NDArray[np.bool_]

    def standardized(self, how: str, *, keeps_mean: bool) -> Float32:
        """Return the voxels in their unit; rows of constant voxels may hold anything finite."""
        if how in ("none", "volume"):
            mean_N = self.mean_N.astype(np.float32)
            return self.residual_VN + mean_N if keeps_mean else self.residual_VN
        left_N = _means(self.residual_VN)
        centred_VN = self.residual_VN - left_N.astype(np.float32)
        is_percent = how == "percent"
        unit_N = 0.01 * np.abs(self.mean_N + left_N) if is_percent else _sds(centred_VN, ddof=1)
        usable_N = np.where(self.is_live_N & (unit_N > 0), unit_N, 1.0)
        return np.multiply(centred_VN, (1.0 / usable_N).astype(np.float32), out=centred_VN)


def _fit_block(signals_VN: Float32, fit: TemporalFit) -> _FittedBlock:
    """Take the mean off, apply the map, and see which voxels are left with a signal."""
    mean_N = _means(signals_VN)
    residual_VN = signals_VN - mean_N.astype(np.float32)
    if fit.filter_VV is not None:
        residual_VN = fit.filter_VV @ residual_VN
    if fit.basis_VK.shape[1]:
        residual_VN -= fit.basis_VK @ (fit.basis_VK.T @ residual_VN)
    largest_N = np.maximum(signals_VN.max(axis=0), -signals_VN.min(axis=0))
    is_live_N = _sds(residual_VN, ddof=0) > CONSTANT_FRACTION * largest_N
    return _FittedBlock(residual_VN=residual_VN, mean_N=mean_N, is_live_N=is_live_N)


def _blocks(num_voxels: int) -> Iterator[slice]:
    for start in range(0, num_voxels, BLOCK_VOXELS):
        yield slice(start, start + BLOCK_VOXELS)


def _means(signals_VN: Float32) -> Float64:
    """Return the means over volumes; from the first volume on, so that float32 is enough."""
    first_N = signals_VN[0]
    share_V = np.full(len(signals_VN), 1.0 / len(signals_VN), dtype=np.float32)
    return np.asarray(first_N.astype(np.float64) + share_V @ (signals_VN - first_N))


def _sds(centred_VN: Float32, *, ddof: int) -> Float64:
    squares_N = np.einsum("vn,vn->n", centred_VN, centred_VN).astype(np.float64)
    return np.asarray(np.sqrt(squares_N / (len(centred_VN) - ddof)))


def _standardized_volumes(signals_VN: Float32, is_live_N: NDArray[np.bool_]) -> Float32:
    """Give each volume mean 0 and SD 1 over its live voxels."""
    out = np.zeros_like(signals_VN)
    at_N = slice(None) if is_live_N.all() else np.flatnonzero(is_live_N)
    if not is_live_N.any():
        return out
    for volume_N, signals_N in zip(out, signals_VN, strict=True):
        live = signals_N[at_N]
        live = live - live.mean()
        sd = np.sqrt(np.dot(live, live) / live.size)
        volume_N[at_N] = live / (sd if sd > 0 else np.float32(1.0))
    return out
