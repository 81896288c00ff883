"""Changes of slices, each a pure function of slices and of numbers drawn before.

Axes are B sequences, T volumes, S slices, H rows, W columns. Not here: what is drawn when
(``augmentation``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["adjust_intensity", "cut_cuboid", "hide_volumes", "mirror", "move_in_plane", "radians"]


def move_in_plane(slices_BTSHW: Tensor, angle_B: Tensor, shift_B2: Tensor) -> Tensor:
    """Turn and then shift the slices of each sequence in their plane, linearly interpolated.

    Parameters
    ----------
    slices_BTSHW : voxels count as square
    angle_B : radians
        Counter-clockwise as an image with its first row on top is looked at, about the centre of
        the slice.
    shift_B2 : over the slice's edge, rows (down) and columns (right)

    Returns
    -------
    slices_BTSHW
        What comes from outside a slice is 0.
    """
    num, num_volumes, num_slices, height, width = slices_BTSHW.shape
    if num == 0:
        return slices_BTSHW
    images = slices_BTSHW.reshape(num, num_volumes * num_slices, height, width)
    theta_B23 = _sampling(angle_B, shift_B2, height / width).to(images)
    grid = functional.affine_grid(theta_B23, list(images.shape), align_corners=False)
    moved = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return moved.reshape(slices_BTSHW.shape)


def _sampling(angle_B: Tensor, shift_B2: Tensor, height_over_width: float) -> Tensor:
    """Return where each pixel comes from, (B, 2, 3), in torch's coordinates of x right, y down.

    These run from -1 to 1 along either edge, whatever its length, so that the parts of a rotation
    that mix the two carry the ratio of the edges. A shift by one edge is 2.
    """
    cos, sin = torch.cos(angle_B), torch.sin(angle_B)
    down, right = (2.0 * shift_B2).unbind(dim=1)
    row_x = [cos, -sin * height_over_width]
    row_y = [sin / height_over_width, cos]
    rows = [
        torch.stack([first, second, -(first * right + second * down)], dim=1)
        for first, second in (row_x, row_y)
    ]
    return torch.stack(rows, dim=1)


def hide_volumes(slices_BTSHW: Tensor, is_hidden_BT: Tensor) -> Tensor:
    """Put the mean of a sequence's other volumes in place of some of its volumes.

    Parameters
    ----------
    is_hidden_BT : at least one volume of each sequence is not
    """
    keeps = (~is_hidden_BT).to(slices_BTSHW)[:, :, None, None, None]
    mean = (slices_BTSHW * keeps).sum(dim=1, keepdim=True) / keeps.sum(dim=1, keepdim=True)
    return torch.where(is_hidden_BT[:, :, None, None, None], mean, slices_BTSHW)


def cut_cuboid(slices_BTSHW: Tensor, share_B: Tensor, position_B3: Tensor) -> Tensor:
    """Set a cuboid of each sequence to zero, in all its volumes.

    Parameters
    ----------
    share_B : in [0, 1], of the volume; rounded to whole voxels along each edge
    position_B3 : in [0, 1] along slices, rows and columns
        0 puts the cuboid at the first voxel, 1 at the last; it always lies inside.
    """
    edge_B = share_B ** (1.0 / 3.0)
    inside = torch.ones(len(slices_BTSHW), 1, 1, 1, dtype=torch.bool, device=share_B.device)
    for axis, size in enumerate(slices_BTSHW.shape[2:]):
        length = torch.round(edge_B * size)
        start = torch.round(position_B3[:, axis] * (size - length))
        voxel = torch.arange(size, device=share_B.device)
        along = (voxel >= start[:, None]) & (voxel < (start + length)[:, None])
        shape = [len(slices_BTSHW), 1, 1, 1]
        shape[axis + 1] = size
        inside = inside & along.view(shape)
    return slices_BTSHW.masked_fill(inside[:, None].to(slices_BTSHW.device), 0.0)


def adjust_intensity(slices_BTSHW: Tensor, factor_B: Tensor, shift_B: Tensor) -> Tensor:
    """Multiply each sequence and add to it, where its voxels are not zero."""
    factor, shift = (
        value.to(slices_BTSHW)[:, None, None, None, None] for value in (factor_B, shift_B)
    )
    return slices_BTSHW * factor + shift * (slices_BTSHW != 0)


def mirror(slices_BTSHW: Tensor, is_mirrored_B: Tensor, *, axis: int) -> Tensor:
    """Turn some sequences round along an axis."""
    chosen = is_mirrored_B.to(slices_BTSHW.device)[:, None, None, None, None]
    return torch.where(chosen, slices_BTSHW.flip(axis), slices_BTSHW)


def radians(degrees: Tensor) -> Tensor:
    """Return angles in radians."""
    return degrees * (math.pi / 180.0)
