"""The temporal fit: nilearn's numbers, nothing left of what was to go, refusals by code."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.config import PreprocessingConfig
from spectrum.data.filters import butterworth_rim, cosines, orthonormal
from spectrum.data.temporal import build_fit, clean_signals
from spectrum.errors import ImageError

TR_S = 1.7
PLAIN = {"detrend": False, "high_pass_hz": 0.0, "standardization": "none"}


def config_of(**settings: Any) -> PreprocessingConfig:
    return PreprocessingConfig.model_validate({**PLAIN, **settings})


def clean_by_us(
    signals_VN: NDArray[Any], config: PreprocessingConfig, regressors: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    fit = build_fit(len(signals_VN), tr_s=TR_S, config=config, regressors_VK=regressors)
    return clean_signals(signals_VN.astype(np.float32), fit=fit, config=config)


def clean_by_nilearn(
    signals_VN: NDArray[Any], config: PreprocessingConfig, regressors: NDArray[Any] | None
) -> NDArray[np.float64]:
    from nilearn.signal import clean

    has_filter = bool(config.high_pass_hz or config.low_pass_hz)
    standardize = {"none": None, "zscore": "zscore_sample", "percent": "psc"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(
            clean(
                signals_VN.astype(np.float64),
                detrend=config.detrend,
                standardize=standardize[config.standardization],
                filter=config.temporal_filter if has_filter else False,
                high_pass=config.high_pass_hz or None,
                low_pass=config.low_pass_hz or None,
                t_r=TR_S,
                confounds=regressors,
            )
        )


def num_left(
    num_volumes: int, config: PreprocessingConfig, regressors: NDArray[Any] | None
) -> int:
    """Return the degrees of freedom that a fit leaves; 0 where it is refused."""
    with contextlib.suppress(ImageError):
        fit = build_fit(num_volumes, tr_s=TR_S, config=config, regressors_VK=regressors)
        return num_volumes - fit.num_regressors
    return 0


def planted(seed: int, num_volumes: int, num_voxels: int = 13) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    time = np.arange(num_volumes)[:, None]
    slow = np.cos(np.pi * time / num_volumes) * rng.normal(0, 30, num_voxels)
    level = rng.uniform(300, 1500, num_voxels)
    noise = rng.normal(0, 10, (num_volumes, num_voxels))
    return np.asarray(level + slow + 0.3 * time + noise, dtype=np.float32)


filters = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"high_pass_hz": st.sampled_from([0.004, 0.008, 0.02])}),
    st.fixed_dictionaries(
        {
            "temporal_filter": st.just("butterworth"),
            "high_pass_hz": st.sampled_from([0.0, 0.01]),
            "low_pass_hz": st.sampled_from([0.08, 0.15]),
        }
    ),
    st.just({"temporal_filter": "butterworth", "high_pass_hz": 0.02}),
)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_volumes=st.integers(40, 220),
    num_regressors=st.sampled_from([0, 1, 6, 24]),
    detrend=st.booleans(),
    chosen=filters,
    standardization=st.sampled_from(["none", "zscore", "percent"]),
)
def test_every_combination_of_steps_gives_the_numbers_of_nilearn(
    seed: int,
    num_volumes: int,
    num_regressors: int,
    detrend: bool,
    chosen: dict[str, Any],
    standardization: str,
) -> None:
    config = config_of(detrend=detrend, standardization=standardization, **chosen)
    signals = planted(seed, num_volumes)
    rng = np.random.default_rng(seed + 1)
    regressors = rng.normal(0, 1, (num_volumes, num_regressors)) if num_regressors else None
    slow = cosines(num_volumes, TR_S, config.high_pass_hz)
    if regressors is not None and slow.shape[1]:
        # nilearn leaves its cosines out where a regressor resembles one.
        both = np.corrcoef(slow.T, regressors.T)[: slow.shape[1], slow.shape[1] :]
        assume(np.abs(both).max() < 0.9)
    assume(num_left(num_volumes, config, regressors) > 0.1 * num_volumes)
    ours = clean_by_us(signals, config, regressors)
    peer = clean_by_nilearn(signals, config, regressors)
    sd = peer.std(axis=0, ddof=1)
    assert np.abs((ours - peer) / sd).max() <= 1e-4


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_volumes=st.integers(30, 150),
    filter_name=st.sampled_from(["cosine", "butterworth"]),
)
def test_nothing_of_a_regressor_is_left_however_many_say_the_same(
    seed: int, num_volumes: int, filter_name: str
) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 1, (num_volumes, 4))
    same = np.hstack([base, base[:, :2] * 3.0 + 7.0, np.full((num_volumes, 1), 2.0)])
    config = config_of(
        detrend=True,
        temporal_filter=filter_name,
        high_pass_hz=0.01,
        low_pass_hz=0.1 if filter_name == "butterworth" else 0.0,
        standardization="zscore",
    )
    assume(num_volumes > butterworth_rim(TR_S, high_pass_hz=0.01, low_pass_hz=0.1))
    signals = planted(seed, num_volumes) + 40 * base[:, :1]
    cleaned = clean_by_us(signals, config, same)
    np.testing.assert_allclose(cleaned, clean_by_us(signals, config, base), atol=2e-4)
    if filter_name == "cosine":
        fit = build_fit(num_volumes, tr_s=TR_S, config=config, regressors_VK=same)
        num_slow = cosines(num_volumes, TR_S, 0.01).shape[1]
        assert fit.num_regressors <= 4 + 1 + num_slow + 1
        unwanted = orthonormal(np.hstack([same, cosines(num_volumes, TR_S, 0.01)]))
        assert np.abs(unwanted.T @ cleaned).max() < 1e-3


def test_a_slow_regressor_does_not_switch_the_high_pass_off() -> None:
    signals = planted(3, 90)
    slow = cosines(90, TR_S, 0.01)
    config = config_of(high_pass_hz=0.01, standardization="zscore")
    cleaned = clean_by_us(signals, config, slow[:, :1] * 5.0)
    assert np.abs(orthonormal(slow).T @ cleaned).max() < 1e-3


def test_filters_do_not_bring_back_what_the_confounds_took_away() -> None:
    rng = np.random.default_rng(5)
    jumps = np.cumsum(rng.normal(0, 1, (120, 2)), axis=0)
    signals = planted(5, 120) + 60 * jumps[:, :1]
    config = config_of(
        detrend=True, temporal_filter="butterworth", high_pass_hz=0.01, low_pass_hz=0.1
    )
    cleaned = clean_by_us(signals, config, jumps)
    plain = clean_by_us(np.repeat(jumps[:, :1], 3, axis=1), config, jumps)
    assert plain.std(axis=0).max() < 1e-3
    assert cleaned.std() < 10


@pytest.mark.parametrize("standardization", ["none", "zscore", "percent", "volume"])
@pytest.mark.parametrize("detrend", [True, False])
@pytest.mark.parametrize("chosen", [{}, {"temporal_filter": "butterworth", "low_pass_hz": 0.1}])
def test_constant_voxels_are_zero_and_nothing_is_infinite(
    standardization: str, detrend: bool, chosen: dict[str, Any]
) -> None:
    signals = planted(1, 70)
    signals[:, 3], signals[:, 5] = 900.0, 0.0
    signals[:, 7] = 5000.0 + 2.0 * np.arange(70)
    config = config_of(detrend=detrend, standardization=standardization, **chosen)
    cleaned = clean_by_us(signals, config)
    assert np.isfinite(cleaned).all()
    assert not cleaned[:, [3, 5]].any()
    if detrend:
        assert not cleaned[:, 7].any()
    alone = clean_by_us(np.delete(signals, [3, 5], axis=1), config)
    if standardization in ("none", "zscore"):
        np.testing.assert_allclose(np.delete(cleaned, [3, 5], axis=1), alone, atol=1e-3)


def test_all_voxels_constant_give_zeros_for_every_unit() -> None:
    flat = np.full((20, 4), 7.0, dtype=np.float32)
    for standardization in ("none", "zscore", "percent", "volume"):
        assert not clean_by_us(flat, config_of(standardization=standardization)).any()


@pytest.mark.parametrize("num_volumes", range(4))
def test_one_volume_or_none_is_too_short(num_volumes: int) -> None:
    if num_volumes >= 2:
        build_fit(num_volumes, tr_s=TR_S, config=config_of())
        return
    with pytest.raises(ImageError) as caught:
        build_fit(num_volumes, tr_s=TR_S, config=config_of())
    assert caught.value.code == "too-short"


@pytest.mark.parametrize("num_regressors", [24, 40])
def test_more_regressors_than_volumes_are_refused_by_code(num_regressors: int) -> None:
    regressors = np.random.default_rng(1).normal(size=(25, num_regressors))
    config = config_of(detrend=True)
    with pytest.raises(ImageError, match=r"25 volumes.*take 25 degrees.*fewer") as caught:
        build_fit(25, tr_s=TR_S, config=config, regressors_VK=regressors)
    assert caught.value.code == "too-short"
    build_fit(25, tr_s=TR_S, config=config, regressors_VK=regressors[:, :22])


@pytest.mark.parametrize(
    "chosen",
    [{"high_pass_hz": 0.02}, {"low_pass_hz": 0.1}, {"high_pass_hz": 0.02, "low_pass_hz": 0.1}],
)
def test_a_butterworth_filter_needs_more_volumes_than_it_mirrors(chosen: dict[str, float]) -> None:
    config = config_of(temporal_filter="butterworth", **chosen)
    cut = {"high_pass_hz": 0.0, "low_pass_hz": 0.0, **chosen}
    rim = butterworth_rim(TR_S, **cut)
    assert np.isfinite(clean_by_us(planted(1, rim + 1), config)).all()
    with pytest.raises(ImageError, match=f"at least {rim + 1} are needed") as caught:
        build_fit(rim, tr_s=TR_S, config=config)
    assert caught.value.code == "too-short"


def test_a_pass_band_that_the_confounds_fill_is_refused_by_code() -> None:
    regressors = np.random.default_rng(1).normal(size=(40, 24))
    config = config_of(temporal_filter="butterworth", low_pass_hz=0.08)
    with pytest.raises(ImageError, match="40 volumes") as caught:
        build_fit(40, tr_s=TR_S, config=config, regressors_VK=regressors)
    assert caught.value.code == "too-short"
    fit = build_fit(40, tr_s=TR_S, config=config, regressors_VK=regressors[:, :2])
    assert 40 - 2 * 0.08 * TR_S * 40 < fit.num_regressors < 40


def test_a_cut_off_that_the_tr_cannot_hold_is_refused_by_code() -> None:
    config = config_of(temporal_filter="butterworth", low_pass_hz=0.2)
    build_fit(60, tr_s=2.4, config=config)
    with pytest.raises(ImageError, match=r"0\.2 Hz.*2\.5 s apart.*0\.2 Hz") as caught:
        build_fit(60, tr_s=2.5, config=config)
    assert caught.value.code == "above-nyquist"


def test_signals_are_left_as_they_were() -> None:
    signals = planted(1, 50)
    before = signals.copy()
    for standardization in ("none", "zscore", "percent", "volume"):
        clean_by_us(signals, config_of(detrend=True, standardization=standardization))
    np.testing.assert_array_equal(signals, before)
