"""Changes of slices whose result is known from geometry and arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spectrum.training.transforms import (
    adjust_intensity,
    cut_cuboid,
    hide_volumes,
    mirror,
    move_in_plane,
    radians,
)

HEIGHT, WIDTH = 41, 61


def blob(down: float, right: float) -> Tensor:
    """One slice of a sequence with a round blob, at voxels from the centre of the slice."""
    rows = torch.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2 - down
    columns = torch.arange(WIDTH)[None, :] - (WIDTH - 1) / 2 - right
    return torch.exp(-(rows**2 + columns**2) / 8.0)[None, None, None]


def centre_of(slices_BTSHW: Tensor) -> tuple[float, float]:
    image = slices_BTSHW[0, 0, 0]
    rows = torch.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2
    columns = torch.arange(WIDTH)[None, :] - (WIDTH - 1) / 2
    mass = image.sum()
    return float((image * rows).sum() / mass), float((image * columns).sum() / mass)


def moved(slices: Tensor, degrees: float, down: float = 0.0, right: float = 0.0) -> Tensor:
    angle = radians(torch.tensor([degrees]))
    return move_in_plane(slices, angle, torch.tensor([[down, right]]))


@pytest.mark.parametrize("degrees", [-40.0, -7.5, 10.0, 30.0, 45.0])
def test_a_blob_turns_about_the_centre_as_geometry_says(degrees: float) -> None:
    down, right = -4.0, 11.0
    angle = float(radians(torch.tensor(degrees)))
    cos, sin = float(torch.cos(torch.tensor(angle))), float(torch.sin(torch.tensor(angle)))
    found = centre_of(moved(blob(down, right), degrees))
    assert found == pytest.approx((down * cos - right * sin, right * cos + down * sin), abs=0.05)


def test_a_quarter_turn_of_a_square_is_exact() -> None:
    square = torch.arange(25.0).reshape(1, 1, 1, 5, 5) + 1
    torch.testing.assert_close(moved(square, 90.0), square.rot90(1, dims=(3, 4)))


@pytest.mark.parametrize(("down", "right"), [(0.1, 0.0), (0.0, -0.15), (-0.05, 0.2)])
def test_a_shift_is_a_share_of_the_edge(down: float, right: float) -> None:
    found = centre_of(moved(blob(1.0, -3.0), 0.0, down, right))
    expected = (1.0 + down * HEIGHT, -3.0 + right * WIDTH)
    assert found == pytest.approx(expected, abs=0.05)


def test_a_turn_comes_before_a_shift() -> None:
    found = centre_of(moved(blob(0.0, 10.0), 45.0, 0.1, 0.1))
    half = 10.0 / 2**0.5
    assert found == pytest.approx((-half + 0.1 * HEIGHT, half + 0.1 * WIDTH), abs=0.05)


def test_no_turn_and_no_shift_change_nothing() -> None:
    slices = torch.randn(2, 3, 2, 7, 9)
    still = move_in_plane(slices, torch.zeros(2), torch.zeros(2, 2))
    torch.testing.assert_close(still, slices, atol=1e-5, rtol=1e-5)


def test_all_slices_and_volumes_of_a_sequence_move_alike_and_sequences_apart() -> None:
    image = torch.randn(7, 9)
    slices = image.expand(2, 3, 4, 7, 9)
    changed = move_in_plane(slices, radians(torch.tensor([10.0, -20.0])), torch.zeros(2, 2))
    torch.testing.assert_close(changed[0], changed[0, :1, :1].expand(3, 4, 7, 9))
    assert not torch.allclose(changed[0], changed[1])


def test_hidden_volumes_become_the_mean_of_the_others_and_keep_the_mean() -> None:
    slices = torch.randn(2, 5, 2, 3, 4)
    is_hidden = torch.tensor([[False, True, True, False, False], [False] * 5])
    changed = hide_volumes(slices, is_hidden)
    mean = slices[0, [0, 3, 4]].mean(dim=0)
    torch.testing.assert_close(changed[0, 1], mean)
    torch.testing.assert_close(changed[0].mean(dim=0), mean)
    assert torch.equal(changed[0, [0, 3, 4]], slices[0, [0, 3, 4]])
    assert torch.equal(changed[1], slices[1])


@pytest.mark.parametrize("share", [0.0, 0.03, 0.2, 0.5, 1.0])
def test_a_cuboid_has_its_share_and_lies_inside_wherever_it_stands(share: float) -> None:
    slices = torch.ones(8, 2, 20, 24, 28)
    corners = torch.tensor([[s, h, w] for s in (0.0, 1.0) for h in (0.0, 1.0) for w in (0.0, 1.0)])
    changed = cut_cuboid(slices, torch.full((8,), share), corners)
    is_cut = changed == 0
    assert torch.equal(is_cut[:, 0], is_cut[:, 1])
    assert is_cut.float().mean(dim=(1, 2, 3, 4)).tolist() == pytest.approx([share] * 8, abs=0.03)
    assert len({float(one.float().mean()) for one in is_cut}) == 1
    if 0.0 < share < 0.5:
        assert bool(is_cut[0, 0, 0, 0, 0])
        assert bool(is_cut[7, 0, -1, -1, -1])
        assert not bool(is_cut[0, 0, -1, -1, -1])


def test_intensity_leaves_what_is_outside_the_brain_at_zero() -> None:
    slices = torch.full((2, 3, 2, 3, 4), 2.0)
    slices[..., 0] = 0.0
    changed = adjust_intensity(slices, torch.tensor([1.0, 0.5]), torch.tensor([0.25, -3.0]))
    assert (changed[..., 0] == 0).all()
    assert changed[0, ..., 1:].unique().tolist() == [2.25]
    assert changed[1, ..., 1:].unique().tolist() == [-2.0]


def test_a_mirrored_sequence_is_turned_round_along_the_axis_alone() -> None:
    slices = torch.randn(2, 3, 4, 5, 6)
    changed = mirror(slices, torch.tensor([True, False]), axis=4)
    assert torch.equal(changed[0], slices[0].flip(3))
    assert torch.equal(changed[1], slices[1])
