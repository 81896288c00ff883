"""The slice ViT: a timm ViT over slices, then slice attention, then temporal attention.

Not here: the modules themselves (``spectrum.model.slice_vit``), so that reading a configuration
imports no torch.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from spectrum.config.frozen import FrozenConfig

__all__ = ["ModelConfig"]

Pooling = Literal["cls", "mean", "attention", "position"]


class ModelConfig(FrozenConfig):
    """Every dimension of the model. Fields that feed timm keep timm's spelling."""

    backbone: str = "vit"
    """``vit``: a timm VisionTransformer with the dimensions below. Any other word is the name of a
    timm ViT (``vit_tiny_patch16_224``), which brings its own dimensions."""

    embed_dim: int = Field(default=32, ge=4, le=4096)
    """Width D of a token; must be a multiple of ``num_heads``."""

    depth: int = Field(default=1, ge=1, le=64)
    """Transformer blocks of the slice encoder."""

    num_heads: int = Field(default=2, ge=1, le=64)
    """Attention heads of the slice encoder."""

    patch_size: int = Field(default=6, ge=1, le=64)
    """Edge of a patch in grid voxels; slices are padded with zeros to a multiple of it."""

    amplitude_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the patch filters whose output counts without its sign. They tell how strongly a
    region fluctuates together; the others tell which pattern it shows."""

    mlp_ratio: float = Field(default=1.0, gt=0.0, le=8.0)
    """Width of a block's MLP over D."""

    drop_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on tokens and MLPs. 0: with few data sets augmentation serves better."""

    attn_drop_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on attention weights."""

    drop_path_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Stochastic depth of the slice encoder."""

    patch_pooling: Pooling = "position"
    """How the patch tokens of a slice become one slice token. ``position``: each place has a
    linear map of its own (P D^2 weights), so that where a pattern lies is kept."""

    slice_depth: int = Field(default=1, ge=0, le=16)
    """Blocks of slice attention, which mix the slices of a volume; 0 leaves them out."""

    slice_pooling: Literal["mean", "attention", "position"] = "position"
    """How the slice tokens of a volume become one volume token. ``position``: each slice and
    channel has a weight of its own."""

    temporal_depth: int = Field(default=1, ge=0, le=16)
    """Blocks of temporal attention, which mix the volumes of a sequence; 0 leaves them out."""

    temporal_pooling: Literal["mean", "attention"] = "mean"
    """How the volume tokens become the sequence's vector, which the linear head reads."""

    attention_heads: int = Field(default=2, ge=1, le=64)
    """Heads of slice and temporal attention and of attention pooling."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.backbone != "vit":
            return self
        for name in ("num_heads", "attention_heads"):
            heads = getattr(self, name)
            if self.embed_dim % heads:
                raise ValueError(
                    f"model.embed_dim is {self.embed_dim} and model.{name} {heads}; "
                    f"the width must be a multiple of the heads"
                )
        return self
