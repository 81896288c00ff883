"""The model: a timm ViT reads slices, attention mixes the slices of a volume, then volumes.

    slices (B, T, S, H, W) -> images of k volumes (B T/k S, k, H, W)
        -> patch tokens -> pooled: slice tokens (B T/k, S, D)
        + slice positions -> slice blocks -> pooled: volume tokens (B, T/k, D)
        + temporal positions -> temporal blocks -> pooled: (B, D) -> norm -> linear: logits (B, K)

Not here: the encoder (``encoder``), the blocks of slice and temporal attention (``attention``),
and how a model is fitted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spectrum.config import ModelConfig
from spectrum.errors import ConfigError
from spectrum.model.attention import (
    AttentionBlock,
    AttentionPool,
    MeanPool,
    PositionMaps,
    PositionWeights,
    TokenPool,
    attention_mask,
)
from spectrum.model.encoder import Encoder, build_encoder
from spectrum.model.positions import (
    MM_WAVELENGTHS,
    SECONDS_WAVELENGTHS,
    WavePositions,
    table,
)

__all__ = ["SliceViT", "build_model", "count_parameters"]

HEAD_STD = 0.02
"""Standard deviation of the fresh weights of the head, as in timm's ViT."""


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
        attention heads do not divide; where volumes do not make whole images.
    """
    if num_volumes % config.volumes_per_image:
        raise ConfigError(
            f"Sequences have {num_volumes} volumes and model.volumes_per_image is "
            f"{config.volumes_per_image}. A sequence must be a whole number of images."
        )
    return SliceViT(
        config,
        build_encoder(config, slice_shape),
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
        encoder: Encoder,
        *,
        shape_TSHW: tuple[int, int, int, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        num_volumes, num_slices, height, width = shape_TSHW
        num_images = num_volumes // config.volumes_per_image
        dim = int(encoder.embed_dim)
        rows, columns = encoder.patch_embed.img_size
        self.shape_TSHW = shape_TSHW
        self.volumes_per_image = config.volumes_per_image
        self.is_causal = config.temporal_causal
        self.pads = (0, columns - width, 0, rows - height)
        self.register_buffer("input_scale", torch.ones(()))
        self.encoder = encoder
        self.pools_by_class_token = config.patch_pooling == "cls"
        self.patch_pool = _patch_pool(config, encoder)
        self.slice_position = _positions(config, config.slice_position, num_slices, dim)
        self.slice_blocks = _blocks(config, config.slice_depth, config.heads_of_slices, dim)
        self.slice_pool = _pool(config, config.slice_pooling, num_slices, dim)
        self.slice_token = _class_token(config, config.slice_pooling, dim)
        self.temporal_position = _positions(config, config.temporal_position, num_images, dim)
        self.temporal_blocks = _blocks(config, config.temporal_depth, config.heads_of_volumes, dim)
        self.temporal_pool = _pool(config, config.temporal_pooling, num_images, dim)
        self.temporal_token = _class_token(config, config.temporal_pooling, dim)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        slices_BTSHW: Tensor,
        *,
        slice_mm_BS: Tensor | None = None,
        volume_s_BT: Tensor | None = None,
        is_slice_BS: Tensor | None = None,
        is_volume_BT: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, K) of sequences.

        Parameters
        ----------
        slices_BTSHW : of the shape that the model was built for, or with fewer slices or volumes
        slice_mm_BS : centres of the slices, millimetres from the middle of the stack
            Needed, and read, with ``model.slice_position: mm`` alone.
        volume_s_BT : seconds from the first volume; with ``model.temporal_position: seconds``
        is_slice_BS, is_volume_BT : False for padding, which changes no logit whatever it holds
            An image with a volume of padding is padding. None: all are there.
        """
        num, num_volumes, num_slices = slices_BTSHW.shape[:3]
        if is_slice_BS is not None or is_volume_BT is not None:
            slices_BTSHW = _blanked(slices_BTSHW, is_slice_BS, is_volume_BT)
        images = self._encode_slices(self._images(slices_BTSHW) * self.input_scale)
        num_images = num_volumes // self.volumes_per_image
        tokens = images.view(num * num_images, num_slices, -1)
        position = _embed(self.slice_position, tokens, slice_mm_BS, num_images)
        tokens = self._mix_slices(tokens + position, _repeated(is_slice_BS, num_images))
        tokens = tokens.view(num, num_images, -1)
        position = _embed(self.temporal_position, tokens, self._image_s(volume_s_BT), 1)
        tokens = self._mix_volumes(tokens + position, self._is_image(is_volume_BT))
        logits_BK: Tensor = self.head(self.norm(tokens))
        return logits_BK

    def _images(self, slices_BTSHW: Tensor) -> Tensor:
        """Return images (N, k, H, W), ordered by sequence, image and slice."""
        num, _, num_slices, height, width = slices_BTSHW.shape
        volumes = self.volumes_per_image
        if volumes == 1:
            return slices_BTSHW.reshape(-1, 1, height, width)
        grouped = slices_BTSHW.reshape(num, -1, volumes, num_slices, height, width)
        return grouped.transpose(2, 3).reshape(-1, volumes, height, width)

    def _encode_slices(self, images_NkHW: Tensor) -> Tensor:
        padded_NkHW = functional.pad(images_NkHW, self.pads)
        tokens_NPD: Tensor = self.encoder.forward_features(padded_NkHW)
        if self.pools_by_class_token:
            return tokens_NPD[:, 0]
        pooled_ND: Tensor = self.patch_pool(tokens_NPD[:, self.encoder.num_prefix_tokens :])
        return pooled_ND

    def _mix_slices(self, tokens_NPD: Tensor, is_token_NP: Tensor | None) -> Tensor:
        pool, token = self.slice_pool, self.slice_token
        return _mix(tokens_NPD, self.slice_blocks, pool, token, is_token_NP)

    def _mix_volumes(self, tokens_NPD: Tensor, is_token_NP: Tensor | None) -> Tensor:
        pool, token = self.temporal_pool, self.temporal_token
        blocks = self.temporal_blocks
        return _mix(tokens_NPD, blocks, pool, token, is_token_NP, is_causal=self.is_causal)

    def _image_s(self, volume_s_BT: Tensor | None) -> Tensor | None:
        """Return the mean time of each image's volumes."""
        if volume_s_BT is None:
            return None
        return volume_s_BT.view(len(volume_s_BT), -1, self.volumes_per_image).mean(dim=2)

    def _is_image(self, is_volume_BT: Tensor | None) -> Tensor | None:
        if is_volume_BT is None:
            return None
        return is_volume_BT.view(len(is_volume_BT), -1, self.volumes_per_image).all(dim=2)


def _mix(
    tokens_NPD: Tensor,
    blocks: nn.Module,
    pool: nn.Module,
    token: Tensor | None,
    is_token_NP: Tensor | None,
    *,
    is_causal: bool = False,
) -> Tensor:
    """Mix the tokens of N sets and pool each set, (N, D); a class token stands after the last."""
    if token is not None:
        tokens_NPD = torch.cat([tokens_NPD, token.expand(len(tokens_NPD), 1, -1)], dim=1)
        if is_token_NP is not None:
            is_token_NP = functional.pad(is_token_NP, (0, 1), value=True)
    mask = None if is_token_NP is None else attention_mask(is_token_NP, is_causal=is_causal)
    for block in blocks.children():
        tokens_NPD = block(tokens_NPD, mask=mask, is_causal=is_causal and mask is None)
    if token is not None:
        return tokens_NPD[:, -1]
    pooled_ND: Tensor = pool(tokens_NPD, is_token_NP)
    return pooled_ND


def _embed(
    position: nn.Parameter | WavePositions | None,
    tokens_NPD: Tensor,
    places_BP: Tensor | None,
    repeats: int,
) -> Tensor | float:
    """Return what is added to tokens for their positions; each sequence has some sets of them."""
    if position is None:
        return 0.0
    if isinstance(position, nn.Parameter):
        return position[:, : tokens_NPD.shape[1]]
    if places_BP is None:
        raise ConfigError(
            "The model embeds positions in millimetres or seconds, and was called without them. "
            "Pass slice_mm_BS with model.slice_position mm, volume_s_BT with "
            "model.temporal_position seconds."
        )
    embedded_BPD: Tensor = position(places_BP)
    return embedded_BPD.repeat_interleave(repeats, dim=0)


def _blanked(
    slices_BTSHW: Tensor, is_slice_BS: Tensor | None, is_volume_BT: Tensor | None
) -> Tensor:
    """Set padding to 0, so that values that are no numbers reach no weight's gradient."""
    if is_slice_BS is not None:
        slices_BTSHW = slices_BTSHW.masked_fill(~is_slice_BS[:, None, :, None, None], 0.0)
    if is_volume_BT is not None:
        slices_BTSHW = slices_BTSHW.masked_fill(~is_volume_BT[:, :, None, None, None], 0.0)
    return slices_BTSHW


def _repeated(is_token_BP: Tensor | None, repeats: int) -> Tensor | None:
    return None if is_token_BP is None else is_token_BP.repeat_interleave(repeats, dim=0)


def _patch_pool(config: ModelConfig, encoder: Encoder) -> nn.Module:
    dim, num_patches = int(encoder.embed_dim), int(encoder.patch_embed.num_patches)
    if config.patch_pooling == "position":
        return PositionMaps(num_patches, dim)
    return _pool(config, config.patch_pooling, num_patches, dim)


def _pool(config: ModelConfig, kind: str, num_tokens: int, dim: int) -> TokenPool:
    if kind == "attention":
        return AttentionPool(dim, config.attention_heads)
    return PositionWeights(num_tokens, dim) if kind == "position" else MeanPool()


def _class_token(config: ModelConfig, kind: str, dim: int) -> nn.Parameter | None:
    return table(1, dim, std=config.position_std) if kind == "cls" else None


def _blocks(config: ModelConfig, depth: int, num_heads: int, dim: int) -> nn.Sequential:
    blocks = (
        AttentionBlock(
            dim,
            num_heads,
            mlp_ratio=config.mlp_ratio,
            drop_rate=config.drop_rate,
            attn_drop_rate=config.attn_drop_rate,
        )
        for _ in range(depth)
    )
    return nn.Sequential(*blocks)


def _positions(
    config: ModelConfig, kind: str, num_tokens: int, dim: int
) -> nn.Parameter | WavePositions | None:
    if kind == "none":
        return None
    if kind == "index":
        return table(num_tokens, dim, std=config.position_std)
    wavelengths = MM_WAVELENGTHS if kind == "mm" else SECONDS_WAVELENGTHS
    return WavePositions(dim, wavelengths, std=config.position_std)
