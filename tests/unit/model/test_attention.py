from __future__ import annotations

import pytest
import torch

from spectrum.model.attention import AttentionBlock, AttentionPool, build_pool


@pytest.mark.parametrize("kind", ["mean", "attention", "position"])
def test_a_pool_returns_one_token_a_set(kind: str) -> None:
    pool = build_pool(kind, num_tokens=5, width=8, num_heads=2)
    assert pool(torch.randn(3, 5, 8)).shape == (3, 8)


@pytest.mark.parametrize(
    ("kind", "keeps_place"), [("mean", False), ("attention", False), ("position", True)]
)
def test_only_position_pooling_knows_where_a_token_was(kind: str, keeps_place: bool) -> None:
    pool = build_pool(kind, num_tokens=5, width=8, num_heads=2)
    tokens = torch.randn(3, 5, 8)
    is_same = torch.allclose(pool(tokens), pool(tokens.flip(1)), atol=1e-6)
    assert is_same != keeps_place


def test_attention_pooling_of_equal_tokens_is_that_token() -> None:
    pool = AttentionPool(8, 2)
    token = torch.randn(3, 1, 8)
    torch.testing.assert_close(pool(token.expand(3, 5, 8)), pool(token))


def test_a_block_mixes_tokens_of_a_set_and_no_other_set() -> None:
    block = AttentionBlock(8, 2, mlp_ratio=2.0).eval()
    tokens = torch.randn(2, 5, 8)
    changed = tokens.clone()
    changed[0, 0] += torch.linspace(-1.0, 1.0, 8)
    before, after = block(tokens), block(changed)
    assert (before[0] != after[0]).any(dim=-1).all()
    assert torch.equal(before[1], after[1])


def test_dropout_acts_in_training_only() -> None:
    block = AttentionBlock(8, 2, mlp_ratio=2.0, drop_rate=0.5, attn_drop_rate=0.5)
    tokens = torch.randn(2, 5, 8)
    assert not torch.equal(block(tokens), block(tokens))
    block.eval()
    assert torch.equal(block(tokens), block(tokens))
