"""Six numbers, matrices, and the displacement between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.registration.places import (
    framewise_displacement,
    parameters_of,
    place_matrix,
)

shifts = st.lists(st.floats(-50, 50), min_size=3, max_size=3)
turns = st.lists(st.floats(-0.7, 0.7), min_size=3, max_size=3)


@given(shift=shifts, turn=turns, center=shifts)
def test_parameters_come_back_from_the_matrix(
    shift: list[float], turn: list[float], center: list[float]
) -> None:
    parameters = np.array(shift + turn)
    place = place_matrix(parameters, np.array(center))
    np.testing.assert_allclose(parameters_of(place, np.array(center)), parameters, atol=1e-9)
    np.testing.assert_allclose(place[:3, :3] @ place[:3, :3].T, np.eye(3), atol=1e-12)


def test_the_centre_only_shifts() -> None:
    center = np.array([1.0, -18.0, 11.0])
    place = place_matrix(np.array([0.5, 0.0, -1.0, 0.3, 0.2, -0.1]), center)
    moved = place @ np.append(center, 1.0)
    np.testing.assert_allclose(moved[:3] - center, [0.5, 0.0, -1.0], atol=1e-12)


def test_displacement_is_the_sum_of_absolute_changes_at_50_mm() -> None:
    motion_V6 = np.zeros((3, 6))
    motion_V6[1] = [0.1, -0.2, 0.3, 0.01, -0.02, 0.0]
    fd_mm = framewise_displacement(motion_V6)
    assert np.isnan(fd_mm[0])
    assert fd_mm[1:] == pytest.approx([0.6 + 50 * 0.03] * 2)


@pytest.mark.parametrize("num_volumes", [0, 1, 5])
def test_there_is_one_displacement_per_volume(num_volumes: int) -> None:
    assert framewise_displacement(np.zeros((num_volumes, 6))).shape == (num_volumes,)
