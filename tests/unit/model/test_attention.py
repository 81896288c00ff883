from __future__ import annotations

import pytest
import torch

from spectrum.model.attention import (
    AttentionBlock,
    AttentionPool,
    MeanPool,
    PositionMaps,
    PositionWeights,
)

POOLS = {
    "mean": MeanPool(),
    "attention": AttentionPool(8, 2),
    "maps": PositionMaps(5, 8),
    "weights": PositionWeights(5, 8),
}


@pytest.mark.parametrize("kind", POOLS)
def test_a_pool_returns_one_token_a_set(kind: str) -> None:
    assert POOLS[kind](torch.randn(3, 5, 8)).shape == (3, 8)


@pytest.mark.parametrize("kind", POOLS)
def test_only_pools_by_position_know_where_a_token_was(kind: str) -> None:
    tokens = torch.randn(3, 5, 8)
    is_same = torch.allclose(POOLS[kind](tokens), POOLS[kind](tokens.flip(1)), atol=1e-6)
    assert is_same == (kind in ("mean", "attention"))


def test_attention_pooling_of_equal_tokens_is_that_token() -> None:
    pool = AttentionPool(8, 2)
    token = torch.randn(3, 1, 8)
    torch.testing.assert_close(pool(token.expand(3, 5, 8)), pool(token))


def stirred_block(**options: float) -> AttentionBlock:
    """A block some way from its start, where it would be the identity."""
    block = AttentionBlock(8, 2, mlp_ratio=2.0, **options)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return block


def test_a_fresh_block_mixes_tokens_and_its_mlp_adds_nothing() -> None:
    block, tokens = AttentionBlock(8, 2, mlp_ratio=2.0), torch.randn(2, 5, 8)
    mixed = block(tokens)
    assert not torch.allclose(mixed, tokens, atol=1e-3)
    assert torch.equal(block.mlp(block.norm2(mixed)), torch.zeros(2, 5, 8))


def test_every_part_of_a_fresh_block_but_the_mlps_first_layer_learns_from_the_first_step() -> None:
    block = AttentionBlock(8, 2, mlp_ratio=2.0)
    block(torch.randn(2, 5, 8)).square().sum().backward()
    still = {name for name, p in block.named_parameters() if not p.grad.any()}
    assert still == {"mlp.0.weight", "mlp.0.bias", "norm2.weight", "norm2.bias"}


def test_a_block_mixes_tokens_of_a_set_and_no_other_set() -> None:
    block = stirred_block().eval()
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(7))
    changed = tokens.clone()
    changed[0, 0] += torch.linspace(-1.0, 1.0, 8)
    before, after = block(tokens), block(changed)
    assert (before[0] != after[0]).any(dim=-1).all()
    assert torch.equal(before[1], after[1])


def test_dropout_acts_in_training_only() -> None:
    block = stirred_block(drop_rate=0.5, attn_drop_rate=0.5)
    tokens = torch.randn(2, 5, 8)
    assert not torch.equal(block(tokens), block(tokens))
    block.eval()
    assert torch.equal(block(tokens), block(tokens))
