"""The slice encoder: a timm ViT by name or by dimensions, with our patch filters.

The doorway of timm. timm's attention goes through ``scaled_dot_product_attention`` wherever torch
has it. Not here: slice and temporal attention (``slice_vit``), and pretrained weights
(``weights``).
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from spectrum.config import ModelConfig, nearest
from spectrum.errors import ConfigError
from spectrum.model.attention import start_as_identity
from spectrum.model.patches import PatchFilters

__all__ = ["Encoder", "build_encoder", "known_backbones"]

Encoder: TypeAlias = VisionTransformer | Eva
"""``forward_features`` reads images (N, k, H, W) and returns tokens (N, prefix + P, D)."""

MODULES: Final = ("vision_transformer", "deit", "eva")
"""Modules of timm whose models are of the classes above."""


def build_encoder(config: ModelConfig, slice_shape: tuple[int, int]) -> Encoder:
    """Build the encoder for slices of one shape, with fresh weights.

    Parameters
    ----------
    slice_shape : (H, W), voxels
        Any size; ``patch_embed.img_size`` is the next multiple of the patch.

    Raises
    ------
    ConfigError
        Where the backbone is no timm ViT, has no class token to pool by, or a width that the
        attention heads do not divide.
    """
    size = config.patch_size
    height, width = (math.ceil(edge / size) * size for edge in slice_shape)
    shared: dict[str, Any] = {
        "img_size": (height, width),
        "patch_size": size,
        "in_chans": config.volumes_per_image,
        "num_classes": 0,
        "global_pool": "token" if config.patch_pooling == "cls" else "",
        "proj_drop_rate": config.drop_rate,
        "pos_drop_rate": config.drop_rate,
        "attn_drop_rate": config.attn_drop_rate,
        "drop_path_rate": config.drop_path_rate,
    }
    if config.backbone == "vit":
        encoder = _by_dimensions(config, shared)
    else:
        encoder = _by_name(config, shared)
    _check_encoder(encoder, config)
    encoder.patch_embed.proj = PatchFilters(
        int(encoder.embed_dim),
        size,
        amplitude_fraction=config.amplitude_fraction,
        num_volumes=config.volumes_per_image,
    )
    return encoder


def known_backbones() -> list[str]:
    """Return the names of timm that a backbone may have.

    Distilled ViTs are not among them: their second class token is for a teacher's labels.
    """
    names = (name for module in MODULES for name in timm.list_models(module=module))
    return sorted(name for name in names if "distilled" not in name)


def _by_dimensions(config: ModelConfig, shared: dict[str, Any]) -> Encoder:
    own = {
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": config.mlp_ratio,
        "class_token": config.patch_pooling == "cls",
        "init_values": config.init_values,
        "qk_norm": config.qk_norm,
    }
    if config.pos_embed == "rope":
        encoder: Encoder = Eva(
            num_reg_tokens=config.reg_tokens,
            use_abs_pos_emb=False,
            use_rot_pos_emb=True,
            **own,
            **shared,
        )
    else:
        encoder = VisionTransformer(
            reg_tokens=config.reg_tokens,
            pos_embed="none" if config.pos_embed == "none" else "learn",
            **own,
            **shared,
        )
    if config.pos_embed == "sincos2d":
        _fix_positions(encoder)
    for block in encoder.blocks:
        start_as_identity(
            (block.attn.qkv, block.mlp.fc1), outputs=(block.attn.proj, block.mlp.fc2)
        )
    return encoder


def _fix_positions(encoder: Encoder) -> None:
    """Put fixed waves in place of the learned positions; class and register tokens have none."""
    shape = encoder.pos_embed.shape
    waves_PD = build_sincos2d_pos_embed(encoder.patch_embed.grid_size, dim=shape[-1])
    fixed = torch.zeros(shape)
    fixed[:, shape[1] - len(waves_PD) :] = waves_PD
    del encoder.pos_embed
    encoder.register_buffer("pos_embed", fixed)


def _by_name(config: ModelConfig, shared: dict[str, Any]) -> Encoder:
    name, known = config.backbone, known_backbones()
    if name not in known:
        raise ConfigError(
            f"model.backbone is {name}, which is no ViT of timm {timm.__version__}. "
            f"The nearest is {nearest(name, known)}; 'vit' builds one from embed_dim and depth."
        )
    try:
        encoder: Encoder = timm.create_model(name, pretrained=False, **shared)
    except AssertionError as err:
        # The class token is the one thing that timm asserts of what we ask for.
        raise _no_class_token(name) from err
    if not isinstance(encoder, VisionTransformer | Eva):
        raise ConfigError(
            f"model.backbone {name} is a {type(encoder).__name__}, not timm's VisionTransformer "
            f"or Eva. Choose another, such as {nearest('vit_tiny_patch16_224', known)}."
        )
    return encoder


def _check_encoder(encoder: Encoder, config: ModelConfig) -> None:
    if config.patch_pooling == "cls" and encoder.cls_token is None:
        raise _no_class_token(config.backbone)
    for field in ("attention_heads", "slice_heads", "temporal_heads"):
        heads = getattr(config, field)
        if heads and encoder.embed_dim % heads:
            raise ConfigError(
                f"backbone {config.backbone} has width {encoder.embed_dim}, which is no multiple "
                f"of model.{field}: {heads}. Choose a divisor of the width."
            )


def _no_class_token(name: str) -> ConfigError:
    return ConfigError(
        f"model.patch_pooling is cls, but backbone {name} has no class token. "
        "Set model.patch_pooling to mean, attention or position."
    )
