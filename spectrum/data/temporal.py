"""What happens to voxels over time: trend and high-pass in one fit, standardisation.

nilearn fits; here it is decided which voxels have a signal at all. Not here: where voxels lie
(``grids``), and the order of the steps (``recipe``).
"""

from __future__ import annotations

import math
import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig

__all__ = ["clean_signals", "num_regressors"]

CONSTANT_FRACTION: Final = 1e-5
"""A voxel whose SD is below this share of its largest value is constant: float32 has 7 digits."""

BASELINE_FRACTION: Final = 1e-3
"""Percent signal change is not defined for a voxel whose mean is below this share of the 95th
percentile of all means."""


def num_regressors(num_volumes: int, tr_s: float, config: PreprocessingConfig) -> int:
    """Return how many degrees of freedom the temporal steps take from a run."""
    cosines = min(num_volumes - 1, math.floor(2 * num_volumes * config.high_pass_hz * tr_s))
    is_centred = config.detrend or config.standardization in ("zscore", "percent")
    return int(is_centred) + int(config.detrend) + cosines


def clean_signals(
    signals_VN: NDArray[np.float32], *, tr_s: float, config: PreprocessingConfig
) -> NDArray[np.float32]:
    """Fit and remove what is slow, then standardise.

    Parameters
    ----------
    signals_VN : volumes by voxels, finite
    tr_s : seconds
    config : detrend, high-pass and standardisation

    Returns
    -------
    cleaned_VN : finite; voxels that are constant after the fit are 0
        Removing the trend removes the mean, as nilearn does; the high-pass alone keeps it.
    """
    mean_N = signals_VN.mean(axis=0, dtype=np.float64)
    residual_VN = _fit(signals_VN, tr_s, config)
    is_live_N = residual_VN.std(axis=0) > CONSTANT_FRACTION * np.abs(signals_VN).max(axis=0)
    if config.standardization == "zscore":
        residual_VN = _standardize(residual_VN, "zscore_sample")
    elif config.standardization == "percent":
        is_live_N &= mean_N > BASELINE_FRACTION * np.percentile(np.abs(mean_N), 95)
        centred = residual_VN - residual_VN.mean(axis=0)
        residual_VN = _standardize(centred + mean_N.astype(np.float32), "psc")
    if config.standardization == "volume":
        return _standardize_volumes(residual_VN, is_live_N)
    return np.where(is_live_N, residual_VN, 0.0).astype(np.float32)


def _fit(
    signals_VN: NDArray[np.float32], tr_s: float, config: PreprocessingConfig
) -> NDArray[np.float32]:
    """Project out trend and cosines together; nilearn detrends the cosines before it uses them."""
    from nilearn.signal import clean

    has_filter = math.floor(2 * len(signals_VN) * config.high_pass_hz * tr_s) >= 1
    if not (config.detrend or has_filter):
        return signals_VN
    return np.asarray(
        clean(
            signals_VN,
            detrend=config.detrend,
            standardize=None,
            filter="cosine" if has_filter else False,
            high_pass=config.high_pass_hz if has_filter else None,
            t_r=tr_s,
        ),
        dtype=np.float32,
    )


def _standardize(signals_VN: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    from nilearn.signal import clean

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        standard_VN = clean(signals_VN, detrend=False, standardize=how, filter=False, t_r=None)
    return np.asarray(standard_VN, dtype=np.float32)


def _standardize_volumes(
    signals_VN: NDArray[np.float32], is_live_N: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Give each volume mean 0 and SD 1 over its live voxels."""
    out = np.zeros_like(signals_VN)
    if not is_live_N.any():
        return out
    live = signals_VN[:, is_live_N].astype(np.float64)
    centred = live - live.mean(axis=1, keepdims=True)
    sd = centred.std(axis=1, keepdims=True)
    out[:, is_live_N] = centred / np.where(sd > 0, sd, 1.0)
    return out
