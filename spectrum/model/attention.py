"""Attention over tokens in plain PyTorch: a transformer block, and ways to pool tokens.

A mask says which tokens are there; the others are padding, and no pool and no token that is there
sees them, whatever they hold. Not here: the slice encoder, which is timm's (``encoder``). All
modules read and return float tensors of width D in the last axis; a token may be a patch, a slice
or a volume.
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
    "TokenPool",
    "attention_mask",
    "start_as_identity",
]


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``.

    Attention begins with weights that mix and the MLP with none: what a few runs can teach
    linearly is learned first, and the MLP's first step already sees mixed tokens. With both at
    zero, neither learns before the other has.

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
        start_as_identity((self.qkv, self.proj, widen), outputs=(narrow,))

    def forward(
        self, tokens_NPD: Tensor, *, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Mix the tokens of each of N sets; the shape stays (N, P, D).

        Parameters
        ----------
        mask : of ``attention_mask``, or None where every token sees every token
        is_causal : whether a token sees itself and those before it; without a mask alone
        """
        attended = self._attend(self.norm1(tokens_NPD), mask, is_causal)
        tokens_NPD = tokens_NPD + self.drop(attended)
        mixed: Tensor = tokens_NPD + self.drop(self.mlp(self.norm2(tokens_NPD)))
        return mixed

    def _attend(self, tokens_NPD: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
        num, length, width = tokens_NPD.shape
        qkv = self.qkv(tokens_NPD).view(num, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.attn_drop_rate if self.training else 0.0,
            is_causal=is_causal,
        )
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(num, length, width))
        return projected


def start_as_identity(inputs: Iterable[nn.Linear], *, outputs: Iterable[nn.Linear]) -> None:
    """Set the first layers of residual branches to Glorot's scale, and the last ones to zero."""
    for layer in inputs:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for layer in outputs:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def attention_mask(is_token_NP: Tensor, *, is_causal: bool = False) -> Tensor:
    """Return which token (row) sees which (column), (N, 1, 1 or P, P).

    Parameters
    ----------
    is_token_NP : False for padding
    is_causal : whether a token sees itself and those before it alone
        A token of padding then sees itself, so that no row is empty.
    """
    if not is_causal:
        return is_token_NP[:, None, None, :]
    ones = torch.ones(is_token_NP.shape[1], is_token_NP.shape[1], device=is_token_NP.device)
    is_self, is_past = torch.eye(len(ones), device=ones.device).bool(), ones.tril().bool()
    return (is_token_NP[:, None, None, :] & is_past) | is_self


class TokenPool(nn.Module):
    """What makes one token (N, D) of the tokens (N, P, D) of each of N sets."""

    def forward(self, tokens_NPD: Tensor, is_token_NP: Tensor | None = None) -> Tensor:
        """Return (N, D); ``is_token_NP`` is False for padding, None where there is none."""
        raise NotImplementedError


class MeanPool(TokenPool):
    """The mean over tokens."""

    def forward(self, tokens_NPD: Tensor, is_token_NP: Tensor | None = None) -> Tensor:
        """Return (N, D)."""
        if is_token_NP is None:
            return tokens_NPD.mean(dim=1)
        counts_N1 = is_token_NP.sum(dim=1, keepdim=True).clamp(min=1)
        return _without_padding(tokens_NPD, is_token_NP).sum(dim=1) / counts_N1


class AttentionPool(TokenPool):
    """A weighted mean: each head gives every token a weight, from what the token holds.

    ``weights = softmax_P(score(token))`` per head, which pools its own D / heads channels.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.score = nn.Linear(width, num_heads)
        self.value = nn.Linear(width, width)

    def forward(self, tokens_NPD: Tensor, is_token_NP: Tensor | None = None) -> Tensor:
        """Return (N, D)."""
        num, length, width = tokens_NPD.shape
        scores_NPh = self.score(tokens_NPD)
        if is_token_NP is not None:
            lowest = torch.finfo(scores_NPh.dtype).min
            scores_NPh = scores_NPh.masked_fill(~is_token_NP[..., None], lowest)
        weights_NPh = scores_NPh.softmax(dim=1)
        value = self.value(tokens_NPD).view(num, length, self.num_heads, width // self.num_heads)
        return torch.einsum("nph,nphd->nhd", weights_NPh, value).reshape(num, width)


class PositionMaps(TokenPool):
    """A linear map of its own for the token of each place, summed: ``sum_p W_p token_p + b``.

    It keeps where a pattern lies, which a mean over patches forgets.
    """

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.maps = nn.Linear(num_tokens * width, width)

    def forward(self, tokens_NPD: Tensor, is_token_NP: Tensor | None = None) -> Tensor:
        """Return (N, D)."""
        if is_token_NP is not None:
            tokens_NPD = _without_padding(tokens_NPD, is_token_NP)
        pooled: Tensor = self.maps(tokens_NPD.flatten(1))
        return pooled


class PositionWeights(TokenPool):
    """A weight for each place and channel: ``pooled_d = sum_p weight_pd token_pd / sqrt(P)``.

    Fewer tokens than places stand at the first of them; P stays.
    """

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.position_weight = nn.Parameter(torch.randn(num_tokens, width))
        self.scale = num_tokens**-0.5

    def forward(self, tokens_NPD: Tensor, is_token_NP: Tensor | None = None) -> Tensor:
        """Return (N, D)."""
        if is_token_NP is not None:
            tokens_NPD = _without_padding(tokens_NPD, is_token_NP)
        weight_PD = self.position_weight[: tokens_NPD.shape[1]]
        pooled: Tensor = torch.einsum("npd,pd->nd", tokens_NPD, weight_PD) * self.scale
        return pooled


def _without_padding(tokens_NPD: Tensor, is_token_NP: Tensor) -> Tensor:
    return tokens_NPD.masked_fill(~is_token_NP[..., None], 0.0)
