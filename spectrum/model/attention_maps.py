"""Which voxels a model's class rests on: gradient-weighted rollout, and integrated gradients.

Both explain the *contrast* of a class: its logit minus the mean of the other scored logits.
Rollout follows Abnar & Zuidema (2020) through patches, slices and volumes, each attention weighted
by its gradient (Chefer, Gur & Wolf 2021, eqs. 5 and 6), as plain rollout is the same for every
class. What a pool reads of a token counts by the positive part of activation times gradient.
Integrated gradients (Sundararajan et al. 2017) are captum's, from a sequence of zeros: the mean of
a standardised voxel, and what lies outside the brain. Not here: how sequences are averaged
(``spectrum.training.explaining``), and whether a map means anything (``spectrum.evaluation``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from spectrum.model.attention_maps_recorder import LevelRecord, Recorded, record_attention
from spectrum.model.slice_vit import SliceViT

__all__ = ["METHODS", "Method", "contrast", "explain", "gradients_maps", "rollout_maps"]

Method = Literal["rollout", "gradients"]

METHODS: Final[tuple[Method, ...]] = get_args(Method)

GRADIENT_STEPS: Final = 16
"""Steps of the path integral by Gauss-Legendre, captum's default. Sundararajan et al. took 20 to
300 by rectangles; the test of completeness holds small models to 2 per cent with these."""

AT_ONCE: Final = 32
"""Points of paths that go through the model at once."""

NO_INPUTS: Final[Mapping[str, Tensor]] = {}
"""Nothing besides voxels."""


def explain(
    method: Method,
    model: SliceViT,
    slices_BTSHW: Tensor,
    targets_B: Tensor,
    *,
    classes: Sequence[int],
    inputs: Mapping[str, Tensor] = NO_INPUTS,
) -> Tensor:
    """Return how much each voxel speaks for a class, (B, T, S, H, W).

    Parameters
    ----------
    method : ``rollout``: shares of the patches, >= 0, that sum to 1 in a sequence (less what falls
        on padding), or are all 0 where nothing speaks for the class; ``gradients``: signed parts
        of the contrast
    model : in evaluation mode
    slices_BTSHW : sequences, in the unit of the fit
    targets_B : class of each sequence that is explained, one of ``classes``
    classes : indices of the scored classes, two or more
    inputs : further arguments of the model, by name, each (B, ...)

    Raises
    ------
    ConfigError
        Where the encoder's attention cannot be rolled out.
    """
    maker = rollout_maps if method == "rollout" else gradients_maps
    return maker(model, slices_BTSHW, targets_B, classes=classes, inputs=inputs)


def contrast(logits_BK: Tensor, targets_B: Tensor, classes: Sequence[int]) -> Tensor:
    """Return the logit of each sequence's class minus the mean of the other scored ones, (B,)."""
    own_B = logits_BK.gather(1, targets_B[:, None])[:, 0]
    return own_B - (logits_BK[:, list(classes)].sum(dim=1) - own_B) / (len(classes) - 1)


def rollout_maps(
    model: SliceViT,
    slices_BTSHW: Tensor,
    targets_B: Tensor,
    *,
    classes: Sequence[int],
    inputs: Mapping[str, Tensor] = NO_INPUTS,
) -> Tensor:
    """Return the gradient-weighted rollout, (B, T, S, H, W); see ``explain``.

    A patch's share is spread evenly over its voxels, and over the volumes of its image.
    """
    with torch.enable_grad():
        # The gradient of a weight needs a graph below it, also where no parameter wants one.
        recorded = record_attention(model, slices_BTSHW.detach().requires_grad_(), inputs)
        value = contrast(recorded.logits_BK, targets_B, classes).sum()
    return _on_voxels(model, _shares(recorded, value, slices_BTSHW), slices_BTSHW)


def gradients_maps(
    model: SliceViT,
    slices_BTSHW: Tensor,
    targets_B: Tensor,
    *,
    classes: Sequence[int],
    inputs: Mapping[str, Tensor] = NO_INPUTS,
    num_steps: int = GRADIENT_STEPS,
) -> Tensor:
    """Return integrated gradients, (B, T, S, H, W); see ``explain``.

    Parameters
    ----------
    num_steps : of the path from zeros to the sequence
    """
    from captum.attr import IntegratedGradients

    def forward(slices: Tensor, targets: Tensor, *more: Tensor) -> Tensor:
        logits_BK = model(slices, **dict(zip(inputs, more, strict=True)))
        return contrast(logits_BK, targets, classes)

    maps: Tensor = IntegratedGradients(forward).attribute(
        slices_BTSHW,
        additional_forward_args=(targets_B, *inputs.values()),
        n_steps=num_steps,
        internal_batch_size=max(len(slices_BTSHW), AT_ONCE),
    )
    return maps.detach().float()


def _shares(recorded: Recorded, value: Tensor, slices_BTSHW: Tensor) -> Tensor:
    """Return the share of each patch, (B, images, S, P), of the rollout of all three levels."""
    levels = (recorded.patches, recorded.slices, recorded.volumes)
    tensors = [t for level in levels for t in (*level.weights, level.pooled) if t is not None]
    found = torch.autograd.grad(value, tensors, allow_unused=True)
    gradient_of = dict(zip(map(id, tensors), found, strict=True))
    num, _, num_slices = slices_BTSHW.shape[:3]
    patches, slices, images = (_rolled_out(level, gradient_of) for level in levels)
    in_image = slices.view(num, -1, num_slices) * images.view(num, -1, 1)
    return patches.view(num, -1, num_slices, patches.shape[-1]) * in_image[..., None]


def _rolled_out(level: LevelRecord, gradient_of: Mapping[int, Tensor | None]) -> Tensor:
    """Return the share of each token of a level within its set, (N, P)."""
    reference = level.pooled if level.pooled is not None else level.weights[0]
    num = len(reference)
    size = level.weights[0].shape[-1] if level.weights else level.num_tokens
    inside = slice(level.first, level.first + level.num_tokens)
    relevance = torch.zeros(num, size, dtype=reference.dtype, device=reference.device)
    if level.pooled is None:
        relevance[:, level.class_token] = 1.0
    else:
        relevance[:, inside] = _positive(level.pooled, gradient_of).sum(dim=-1).clamp(min=0.0)
    for weights in reversed(level.weights):
        mixing = _positive(weights, gradient_of).clamp(min=0.0).mean(dim=1)
        relevance = relevance + torch.einsum("np,npq->nq", relevance, mixing)
    relevance = relevance[:, inside]
    total = relevance.sum(dim=1, keepdim=True)
    return torch.where(total > 0, relevance / total.clamp(min=1e-30), 0.0).detach()


def _positive(tensor: Tensor, gradient_of: Mapping[int, Tensor | None]) -> Tensor:
    gradient = gradient_of[id(tensor)]
    return torch.zeros_like(tensor) if gradient is None else tensor.detach() * gradient


def _on_voxels(model: SliceViT, shares: Tensor, slices_BTSHW: Tensor) -> Tensor:
    """Spread shares (B, images, S, P) over the voxels of their patches, (B, T, S, H, W)."""
    height, width = slices_BTSHW.shape[3:]
    rows, columns = model.encoder.patch_embed.grid_size
    patch_h, patch_w = model.encoder.patch_embed.patch_size
    grid = shares.view(*shares.shape[:3], rows, columns)
    spread = grid.repeat_interleave(patch_h, dim=3).repeat_interleave(patch_w, dim=4)
    per_voxel: Tensor = spread[..., :height, :width] / (
        patch_h * patch_w * model.volumes_per_image
    )
    return per_voxel.repeat_interleave(model.volumes_per_image, dim=1)
