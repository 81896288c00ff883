"""Small models some way from their start, and configurations drawn from every kind there is."""

from __future__ import annotations

import random

import torch

from spectrum.config import ModelConfig
from spectrum.model.slice_vit import SliceViT, build_model

SMALL = {"embed_dim": 16, "depth": 1, "num_heads": 2, "attention_heads": 2, "patch_size": 4}
POOLINGS = ("cls", "mean", "attention", "position")


def stirred(config: ModelConfig, shape_TSHW: tuple[int, int, int, int]) -> SliceViT:
    """A model away from its start, where attention is the identity."""
    torch.manual_seed(0)
    num_volumes, num_slices, height, width = shape_TSHW
    model = build_model(
        config,
        num_slices=num_slices,
        slice_shape=(height, width),
        num_volumes=num_volumes,
        num_classes=3,
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def drawn_config(seed: int) -> ModelConfig:
    """A small configuration with every field drawn."""
    draw = random.Random(seed)
    return ModelConfig(
        embed_dim=draw.choice([16, 32]),
        depth=draw.randint(1, 3),
        num_heads=draw.choice([1, 2, 4]),
        patch_size=draw.randint(2, 6),
        volumes_per_image=draw.choice([1, 2, 3]),
        amplitude_fraction=draw.choice([0.0, 0.5]),
        pos_embed=draw.choice(["learned", "sincos2d", "rope", "none"]),
        init_values=draw.choice([None, 0.1]),
        reg_tokens=draw.choice([0, 2]),
        qk_norm=draw.random() < 0.5,
        mlp_ratio=draw.choice([1.0, 2.5]),
        patch_pooling=draw.choice(POOLINGS),
        slice_depth=draw.randint(1, 2),
        slice_heads=draw.choice([None, 4]),
        slice_position=draw.choice(["index", "mm", "none"]),
        slice_pooling=draw.choice(POOLINGS),
        temporal_depth=draw.randint(1, 2),
        temporal_heads=draw.choice([None, 1]),
        temporal_position=draw.choice(["index", "seconds", "none"]),
        temporal_causal=draw.random() < 0.5,
        temporal_pooling=draw.choice(POOLINGS),
    )
