"""Attention over tokens in plain PyTorch: a transformer block, and ways to pool tokens.

Not here: the slice encoder, which is timm's (``slice_vit``). All modules read and return float
tensors of width D in the last axis; a token may be a patch, a slice or a volume.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "AttentionBlock",
    "AttentionPool",
    "MeanPool",
    "PositionMaps",
    "PositionWeights",
    "start_as_identity",
]


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``.

    It begins as the identity: what a few runs can teach linearly is learned first.

    Parameters
    ----------
    width : D
    num_heads : divides D
    mlp_ratio : width of the MLP over D
    drop_rate, attn_drop_rate : probabilities in [0, 1)
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: float,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = max(1, round(width * mlp_ratio))
        widen, narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.mlp = nn.Sequential(widen, nn.GELU(), nn.Dropout(drop_rate), narrow)
        self.drop = nn.Dropout(drop_rate)
        start_as_identity((self.qkv, widen), outputs=(self.proj, narrow))

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        """Mix the tokens of each of N sets; the shape stays (N, P, D)."""
        tokens_NPD = tokens_NPD + self.drop(self._attend(self.norm1(tokens_NPD)))
        mixed: Tensor = tokens_NPD + self.drop(self.mlp(self.norm2(tokens_NPD)))
        return mixed

    def _attend(self, tokens_NPD: Tensor) -> Tensor:
        num, length, width = tokens_NPD.shape
        qkv = self.qkv(tokens_NPD).view(num, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.attn_drop_rate if self.training else 0.0
        )
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(num, length, width))
        return projected


def start_as_identity(inputs: Iterable[nn.Linear], *, outputs: Iterable[nn.Linear]) -> None:
    """Set the first layers of residual branches to Glorot's scale, and the last ones to zero."""
    for layer in inputs:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    for layer in outputs:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


class MeanPool(nn.Module):
    """The mean over tokens."""

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        """Return (N, D)."""
        return tokens_NPD.mean(dim=1)


class AttentionPool(nn.Module):
    """A weighted mean: each head gives every token a weight, from what the token holds.

    ``weights = softmax_P(score(token))`` per head, which pools its own D / heads channels.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.score = nn.Linear(width, num_heads)
        self.value = nn.Linear(width, width)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        """Return (N, D)."""
        num, length, width = tokens_NPD.shape
        weights_NPh = self.score(tokens_NPD).softmax(dim=1)
        value = self.value(tokens_NPD).view(num, length, self.num_heads, width // self.num_heads)
        return torch.einsum("nph,nphd->nhd", weights_NPh, value).reshape(num, width)


class PositionMaps(nn.Module):
    """A linear map of its own for the token of each place, summed: ``sum_p W_p token_p + b``.

    It keeps where a pattern lies, which a mean over patches forgets.
    """

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.maps = nn.Linear(num_tokens * width, width)

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        """Return (N, D)."""
        pooled: Tensor = self.maps(tokens_NPD.flatten(1))
        return pooled


class PositionWeights(nn.Module):
    """A weight for each place and channel: ``pooled_d = sum_p weight_pd token_pd / sqrt(P)``."""

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.position_weight = nn.Parameter(torch.randn(num_tokens, width))
        self.scale = num_tokens**-0.5

    def forward(self, tokens_NPD: Tensor) -> Tensor:
        """Return (N, D)."""
        pooled: Tensor = torch.einsum("npd,pd->nd", tokens_NPD, self.position_weight) * self.scale
        return pooled
