"""Patch filters: how the voxels of a patch become the channels of its token.

Some channels hold a filter's output, which tells a pattern and its sign; the others hold its
amplitude, ``|w x + b| - sqrt(2 / pi)``, which tells how strongly a region fluctuates together
whichever way it goes (the energy model of Adelson & Bergen 1985, eq. 1). A network learns to take
amplitudes from signed channels only slowly, and few fMRI runs are not enough for it. Filters begin
as cosines from low to high spatial frequency, since neighbouring voxels are alike.
"""

from __future__ import annotations

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
    """

    def __init__(self, width: int, patch_size: int, *, amplitude_fraction: float) -> None:
        super().__init__(1, width, kernel_size=patch_size, stride=patch_size)
        self.num_amplitudes = round(width * amplitude_fraction)
        self.num_signed = width - self.num_amplitudes
        filters = [cosine_filters(n, patch_size) for n in (self.num_signed, self.num_amplitudes)]
        with torch.no_grad():
            self.weight.copy_(torch.cat(filters)[:, None])
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return channels (N, D, rows, columns) of images (N, 1, H, W)."""
        channels = super().forward(input)
        if not self.num_amplitudes:
            return channels
        signed, outputs = channels[:, : self.num_signed], channels[:, self.num_signed :]
        return torch.cat([signed, outputs.abs() - MEAN_AMPLITUDE], dim=1)


def cosine_filters(num_filters: int, size: int) -> Tensor:
    """Return orthonormal cosine filters (N, size, size), the lowest spatial frequency first.

    Beyond ``size * size``, where no orthogonal filter is left, they are normal with unit norm on
    average.
    """
    index = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi * (index[None] + 0.5) * index[:, None] / size)
    waves = waves / waves.norm(dim=1, keepdim=True)
    pairs = sorted(
        ((row, column) for row in range(size) for column in range(size)),
        key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair),
    )[:num_filters]
    filters = torch.randn(num_filters, size, size) / size
    for number, (row, column) in enumerate(pairs):
        filters[number] = torch.outer(waves[row], waves[column]).float()
    return filters
