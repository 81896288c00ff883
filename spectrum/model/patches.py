"""Patch filters: how the voxels of a patch become the channels of its token.

Some channels hold a filter's output, which tells a pattern and its sign; the others hold its
amplitude, ``|w x + b| - sqrt(2 / pi)``, which tells how strongly a region fluctuates together
whichever way it goes (the energy model of Adelson & Bergen 1985, eq. 1). A network learns to take
amplitudes from signed channels only slowly, and few fMRI runs are not enough for it. Filters begin
as cosines from low to high spatial frequency, since neighbouring voxels are alike.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["PatchFilters", "cosine_filters"]

MEAN_AMPLITUDE: Final = math.sqrt(2.0 / math.pi)
"""Mean of |z| for a standard normal z; taken off, so that amplitudes of noise centre on 0."""


class PatchFilters(nn.Conv2d):
    """A convolution with one step a patch, whose last channels are amplitudes.

    Parameters
    ----------
    width : D, channels of a token
    patch_size : voxels, edge of a patch
    amplitude_fraction : in [0, 1]
        Share of the channels that hold amplitudes.
    num_volumes : k, volumes of an image, its input channels
    """

    def __init__(
        self, width: int, patch_size: int, *, amplitude_fraction: float, num_volumes: int = 1
    ) -> None:
        super().__init__(num_volumes, width, kernel_size=patch_size, stride=patch_size)
        self.num_amplitudes = round(width * amplitude_fraction)
        self.num_signed = width - self.num_amplitudes
        filters = [
            cosine_filters(count, patch_size, num_volumes)
            for count in (self.num_signed, self.num_amplitudes)
        ]
        with torch.no_grad():
            self.weight.copy_(torch.cat(filters))
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return channels (N, D, rows, columns) of images (N, k, H, W)."""
        channels = super().forward(input)
        if not self.num_amplitudes:
            return channels
        signed, outputs = channels[:, : self.num_signed], channels[:, self.num_signed :]
        return torch.cat([signed, outputs.abs() - MEAN_AMPLITUDE], dim=1)


def cosine_filters(num_filters: int, size: int, num_volumes: int = 1) -> Tensor:
    """Return orthonormal cosine filters (N, k, size, size), the lowest frequency first.

    Beyond ``k * size * size``, where no orthogonal filter is left, they are normal with unit norm
    on average.

    Parameters
    ----------
    num_filters : N
    size : voxels, edge of a patch
    num_volumes : k; a filter is a wave over volumes too
    """
    in_space, in_time = _waves(size), _waves(num_volumes)
    frequencies = sorted(
        itertools.product(range(num_volumes), range(size), range(size)),
        key=lambda wave: (sum(step**2 for step in wave), wave),
    )[:num_filters]
    scale = size * math.sqrt(num_volumes)
    filters = torch.randn(num_filters, num_volumes, size, size) / scale
    for number, (volume, row, column) in enumerate(frequencies):
        in_plane = torch.outer(in_space[row], in_space[column])
        filters[number] = (in_time[volume][:, None, None] * in_plane).float()
    return filters


def _waves(size: int) -> Tensor:
    """Return the rows of the orthonormal cosine transform of some length."""
    index = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi * (index[None] + 0.5) * index[:, None] / size)
    norms: Tensor = waves.norm(dim=1, keepdim=True)
    return waves / norms
