"""One scale for all data sets: fitted on training runs, blind to the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.harmonisation import fit_harmonisation
from spectrum.errors import DataError

SHAPE = (3, 4, 5)


def a_run(seed: int, *, level: float, gain: float, num_volumes: int = 7) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    slices = rng.normal(level, gain, (num_volumes, *SHAPE)).astype(np.float32)
    slices[:, :, 0] = 0.0
    return slices


def test_data_sets_of_the_training_side_end_on_one_scale() -> None:
    runs = [
        ("a", a_run(1, level=500, gain=10)),
        ("a", a_run(2, level=530, gain=10, num_volumes=11)),
        ("b", a_run(3, level=1500, gain=90)),
    ]
    fitted = fit_harmonisation(runs)
    for name in ("a", "b"):
        voxels = np.concatenate(
            [fitted.harmonise(d, s)[:, :, 1:].ravel() for d, s in runs if d == name]
        )
        assert voxels.mean() == pytest.approx(0.0, abs=1e-4)
        assert voxels.std() == pytest.approx(1.0, abs=1e-4)


def test_levels_of_runs_of_one_known_data_set_stay_apart() -> None:
    low, high = a_run(1, level=500, gain=10), a_run(2, level=560, gain=10)
    fitted = fit_harmonisation([("a", low), ("a", high)])
    assert fitted.harmonise("a", high)[:, :, 1:].mean() > 0.8
    assert fitted.harmonise("a", low)[:, :, 1:].mean() < -0.8


@given(st.integers(0, 50), st.floats(-2000, 2000), st.floats(0.1, 500))
def test_held_out_runs_never_change_the_fit(seed: int, level: float, gain: float) -> None:
    training = [("a", a_run(1, level=500, gain=10)), ("b", a_run(3, level=1500, gain=90))]
    held_out = a_run(seed, level=level, gain=gain)
    before = fit_harmonisation(training)
    one = before.harmonise("a", training[0][1])
    for dataset in ("a", "c"):
        before.harmonise(dataset, held_out)
    assert before == fit_harmonisation(training)
    np.testing.assert_array_equal(one, before.harmonise("a", training[0][1]))


def test_a_run_of_an_unseen_data_set_depends_on_itself_alone() -> None:
    unseen = a_run(9, level=3000, gain=250)
    fits = [
        fit_harmonisation([("a", a_run(1, level=500, gain=10))]),
        fit_harmonisation([("b", a_run(2, level=900, gain=70))]),
    ]
    one, two = (fit.harmonise("c", unseen) for fit in fits)
    np.testing.assert_array_equal(one, two)
    assert one[:, :, 1:].mean() == pytest.approx(0.0, abs=1e-4)
    assert one[:, :, 1:].std() == pytest.approx(1.0, abs=1e-4)


def test_voxels_outside_the_mask_stay_zero() -> None:
    run = a_run(1, level=500, gain=10).astype(np.float16)
    fitted = fit_harmonisation([("a", run)])
    for dataset in ("a", "c"):
        assert not fitted.harmonise(dataset, run)[:, :, 0].any()


def test_the_order_of_runs_does_not_matter_beyond_rounding() -> None:
    runs = [("a", a_run(seed, level=500 + seed, gain=10)) for seed in range(5)]
    one = fit_harmonisation(runs).scale_of_dataset["a"]
    two = fit_harmonisation(runs[::-1]).scale_of_dataset["a"]
    assert one.mean == pytest.approx(two.mean, rel=1e-12)
    assert one.sd == pytest.approx(two.sd, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_data_set_without_contrast_is_refused_by_name(value: float) -> None:
    flat = np.full((2, *SHAPE), value, dtype=np.float32)
    with pytest.raises(DataError, match="runs of a have one value") as caught:
        fit_harmonisation([("a", flat)])
    assert caught.value.code == "no-contrast"
    with pytest.raises(DataError, match="runs of c"):
        fit_harmonisation([]).harmonise("c", flat)
