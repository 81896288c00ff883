"""What every attention of a model looked at, and what its pools were given, in one forward pass.

timm's attention and ours go through ``scaled_dot_product_attention``, which tells no weights; in
here it is computed in the open, with the same numbers but for rounding. Not here: what is made of
the weights (``attention_maps``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from spectrum.errors import ConfigError
from spectrum.model.slice_vit import SliceViT

__all__ = ["LevelRecord", "Recorded", "record_attention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRecord:
    """One level of a model: N sets of P tokens (patches, slices or images).

    ``weights`` are the attentions (N, heads, P', P') of its blocks, first to last; P' counts
    prefix and class tokens too. ``pooled`` are the tokens (N, P, D) that its pool was given, None
    where a class token is read instead. ``first`` is the place of the first token among P', and
    ``class_token`` that of the class token.
    """

    weights: tuple[Tensor, ...]
    pooled: Tensor | None
    first: int
    num_tokens: int
    class_token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Logits (B, K), and the levels from patches to images."""

    logits_BK: Tensor
    patches: LevelRecord
    slices: LevelRecord
    volumes: LevelRecord


def record_attention(
    model: SliceViT, slices_BTSHW: Tensor, inputs: Mapping[str, Tensor]
) -> Recorded:
    """Run a model once and keep its attention weights and the tokens that it pools.

    Parameters
    ----------
    model : in evaluation mode
    slices_BTSHW : on the model's device
    inputs : further arguments of the model, by name

    Raises
    ------
    ConfigError
        Where the encoder's blocks do not each have one attention over all its tokens.
    """
    mode, pooled = _Mode(), dict[str, Tensor]()
    with _kept_inputs(model, pooled), mode:
        logits_BK = model(slices_BTSHW, **inputs)
    blocks = [list(level.children()) for level in (model.slice_blocks, model.temporal_blocks)]
    depths = (len(model.encoder.blocks), len(blocks[0]), len(blocks[1]))
    prefix = int(model.encoder.num_prefix_tokens)
    num_patches = int(model.encoder.patch_embed.num_patches)
    _check(model, mode.weights, depths, prefix + num_patches)
    first, second = depths[0], depths[0] + depths[1]
    num_images = slices_BTSHW.shape[1] // model.volumes_per_image
    return Recorded(
        logits_BK=logits_BK,
        patches=LevelRecord(
            weights=tuple(mode.weights[:first]),
            pooled=None if model.pools_by_class_token else pooled["patch_pool"],
            first=prefix,
            num_tokens=num_patches,
            class_token=0,
        ),
        slices=_own(mode.weights[first:second], pooled.get("slice_pool"), slices_BTSHW.shape[2]),
        volumes=_own(mode.weights[second:], pooled.get("temporal_pool"), num_images),
    )


def _own(weights: list[Tensor], pooled: Tensor | None, num_tokens: int) -> LevelRecord:
    """Return a level of ours, where a class token stands last."""
    return LevelRecord(
        weights=tuple(weights),
        pooled=pooled,
        first=0,
        num_tokens=num_tokens,
        class_token=num_tokens,
    )


def _check(
    model: SliceViT, weights: list[Tensor], depths: tuple[int, int, int], num_tokens: int
) -> None:
    sides = [tuple(found.shape[-2:]) for found in weights[: depths[0]]]
    if len(weights) == sum(depths) and all(side == (num_tokens, num_tokens) for side in sides):
        return
    kinds = sorted({type(block).__name__ for block in model.encoder.blocks})
    raise ConfigError(
        f"The encoder ({', '.join(kinds)}) shows {len(weights)} attentions where {sum(depths)} of "
        f"one for each block over {num_tokens} tokens were expected; such attention cannot be "
        "rolled out. Unset TIMM_FUSED_ATTN if it is set, or use the method gradients."
    )


class _Mode(TorchFunctionMode):
    """Computes each attention in the open and keeps its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        mixed, weights = _attend(*args, **(kwargs or {}))
        self.weights.append(weights)
        return mixed


def _attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **more: Any
) -> tuple[Tensor, Tensor]:
    """Return what torch documents of ``scaled_dot_product_attention``, and the weights."""
    if more.get("dropout_p") or more.get("enable_gqa"):
        raise ConfigError(
            "Attention with dropout or grouped queries cannot be rolled out. "
            "Put the model in evaluation mode, or use the method gradients."
        )
    scores = query @ key.transpose(-2, -1) * (more.get("scale") or query.shape[-1] ** -0.5)
    if more.get("is_causal"):
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(dim=-1)
    return weights @ value, weights


@contextmanager
def _kept_inputs(model: SliceViT, pooled: dict[str, Tensor]) -> Iterator[None]:
    """Keep the tokens that each pool is given; a pool beside a class token is given none."""

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            pooled[name] = given[0]

        return hook

    names = ("patch_pool", "slice_pool", "temporal_pool")
    handles = [getattr(model, name).register_forward_pre_hook(keep(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
