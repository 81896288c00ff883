"""The model: a timm ViT reads slices, attention mixes the slices of a volume, then volumes.

    slices (B, T, S, H, W) -> patch tokens -> pooled: slice tokens (B T, S, D)
        + slice positions -> slice blocks -> pooled: volume tokens (B, T, D)
        + temporal positions -> temporal blocks -> pooled: (B, D) -> norm -> linear: logits (B, K)

Not here: the blocks of slice and temporal attention (``attention``), and how a model is fitted.
"""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from spectrum.config import ModelConfig, nearest
from spectrum.errors import ConfigError
from spectrum.model.attention import (
    AttentionBlock,
    AttentionPool,
    MeanPool,
    PositionMaps,
    PositionWeights,
    start_as_identity,
)
from spectrum.model.patches import PatchFilters

__all__ = ["SliceViT", "build_model", "count_parameters"]

POSITION_STD = 0.02
"""Standard deviation of fresh position embeddings, as in timm's ViT."""


def build_model(
    config: ModelConfig,
    *,
    num_slices: int,
    slice_shape: tuple[int, int],
    num_volumes: int,
    num_classes: int,
) -> SliceViT:
    """Build the model for sequences of one shape, with fresh weights from the global generator.

    Parameters
    ----------
    num_slices, num_volumes : S and T
    slice_shape : (H, W), voxels
        Any size; slices are padded with zeros to a multiple of the patch.
    num_classes : K

    Raises
    ------
    ConfigError
        Where the backbone is no timm ViT, has no class token to pool by, or a width that the
        attention heads do not divide.
    """
    padded_shape = (
        math.ceil(slice_shape[0] / config.patch_size) * config.patch_size,
        math.ceil(slice_shape[1] / config.patch_size) * config.patch_size,
    )
    encoder = _build_encoder(config, padded_shape)
    _check_encoder(encoder, config)
    encoder.patch_embed.proj = PatchFilters(
        int(encoder.embed_dim),
        config.patch_size,
        amplitude_fraction=config.amplitude_fraction,
    )
    return SliceViT(
        config,
        encoder,
        shape_TSHW=(num_volumes, num_slices, *slice_shape),
        num_classes=num_classes,
    )


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class SliceViT(nn.Module):
    """A timm ViT over slices, then slice attention and temporal attention.

    ``input_scale`` is what slices are multiplied by first. It is no weight: a fit sets it once, so
    that the voxels it trains on are of the order of 1 whatever units the recipe ends in.
    """

    input_scale: Tensor

    def __init__(
        self,
        config: ModelConfig,
        encoder: VisionTransformer,
        *,
        shape_TSHW: tuple[int, int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        num_volumes, num_slices, height, width = shape_TSHW
        dim = int(encoder.embed_dim)
        rows, columns = encoder.patch_embed.img_size
        self.shape_TSHW = shape_TSHW
        self.pads = (0, columns - width, 0, rows - height)
        self.register_buffer("input_scale", torch.ones(()))
        self.encoder = encoder
        self.pools_by_class_token = config.patch_pooling == "cls"
        self.patch_pool = _patch_pool(config, encoder)
        self.slice_position = nn.Parameter(_positions(num_slices, dim))
        self.slice_blocks = _blocks(config, config.slice_depth, dim)
        self.slice_pool = _pool(config, config.slice_pooling, num_slices, dim)
        self.temporal_position = nn.Parameter(_positions(num_volumes, dim))
        self.temporal_blocks = _blocks(config, config.temporal_depth, dim)
        self.temporal_pool = _pool(config, config.temporal_pooling, num_volumes, dim)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=POSITION_STD)
        nn.init.zeros_(self.head.bias)

    def forward(self, slices_BTSHW: Tensor) -> Tensor:
        """Return logits (B, K) of sequences (B, T, S, H, W)."""
        num, num_volumes, num_slices, height, width = slices_BTSHW.shape
        images_N1HW = slices_BTSHW.reshape(-1, 1, height, width) * self.input_scale
        tokens = self._encode_slices(images_N1HW).view(num * num_volumes, num_slices, -1)
        tokens = self.slice_pool(self.slice_blocks(tokens + self.slice_position))
        tokens = tokens.view(num, num_volumes, -1)
        tokens = self.temporal_pool(self.temporal_blocks(tokens + self.temporal_position))
        logits_BK: Tensor = self.head(self.norm(tokens))
        return logits_BK

    def _encode_slices(self, images_N1HW: Tensor) -> Tensor:
        padded_N1HW = functional.pad(images_N1HW, self.pads)
        tokens_NPD: Tensor = self.encoder.forward_features(padded_N1HW)
        if self.pools_by_class_token:
            return tokens_NPD[:, 0]
        pooled_ND: Tensor = self.patch_pool(tokens_NPD[:, self.encoder.num_prefix_tokens :])
        return pooled_ND


def _patch_pool(config: ModelConfig, encoder: VisionTransformer) -> nn.Module:
    dim, num_patches = int(encoder.embed_dim), int(encoder.patch_embed.num_patches)
    if config.patch_pooling == "position":
        return PositionMaps(num_patches, dim)
    return _pool(config, config.patch_pooling, num_patches, dim)


def _pool(config: ModelConfig, kind: str, num_tokens: int, dim: int) -> nn.Module:
    if kind == "attention":
        return AttentionPool(dim, config.attention_heads)
    return PositionWeights(num_tokens, dim) if kind == "position" else MeanPool()


def _blocks(config: ModelConfig, depth: int, dim: int) -> nn.Sequential:
    blocks = (
        AttentionBlock(
            dim,
            config.attention_heads,
            mlp_ratio=config.mlp_ratio,
            drop_rate=config.drop_rate,
            attn_drop_rate=config.attn_drop_rate,
        )
        for _ in range(depth)
    )
    return nn.Sequential(*blocks)


def _positions(num_tokens: int, dim: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(1, num_tokens, dim), std=POSITION_STD)


def _build_encoder(config: ModelConfig, img_size: tuple[int, int]) -> VisionTransformer:
    shared: dict[str, Any] = {
        "img_size": img_size,
        "patch_size": config.patch_size,
        "in_chans": 1,
        "num_classes": 0,
        "proj_drop_rate": config.drop_rate,
        "pos_drop_rate": config.drop_rate,
        "attn_drop_rate": config.attn_drop_rate,
        "drop_path_rate": config.drop_path_rate,
    }
    if config.backbone != "vit":
        return _build_named_encoder(config.backbone, shared)
    has_class_token = config.patch_pooling == "cls"
    encoder = VisionTransformer(
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        class_token=has_class_token,
        global_pool="token" if has_class_token else "",
        **shared,
    )
    for block in encoder.blocks:
        start_as_identity(
            (block.attn.qkv, block.mlp.fc1), outputs=(block.attn.proj, block.mlp.fc2)
        )
    return encoder


def _build_named_encoder(name: str, shared: dict[str, Any]) -> VisionTransformer:
    known = timm.list_models(module="vision_transformer")
    if name not in known:
        raise ConfigError(
            f"model.backbone is {name}, which is no ViT of timm {timm.__version__}. "
            f"The nearest is {nearest(name, known)}; 'vit' builds one from embed_dim and depth."
        )
    encoder = timm.create_model(name, pretrained=False, **shared)
    if not isinstance(encoder, VisionTransformer):
        raise ConfigError(
            f"model.backbone {name} is a {type(encoder).__name__}, not timm's VisionTransformer. "
            f"Choose another, such as {nearest('vit_tiny_patch16_224', known)}."
        )
    return encoder


def _check_encoder(encoder: VisionTransformer, config: ModelConfig) -> None:
    if config.patch_pooling == "cls" and not encoder.has_class_token:
        raise ConfigError(
            f"model.patch_pooling is cls, but backbone {config.backbone} has no class token. "
            "Set model.patch_pooling to mean, attention or position."
        )
    if encoder.embed_dim % config.attention_heads:
        raise ConfigError(
            f"backbone {config.backbone} has width {encoder.embed_dim}, which is no multiple of "
            f"model.attention_heads: {config.attention_heads}. Choose a divisor of the width."
        )
