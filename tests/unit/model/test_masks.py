from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spectrum.config import ModelConfig
from spectrum.model.attention import AttentionBlock, attention_mask
from tests.unit.model.models import POOLINGS, SMALL, drawn_config, stirred

SHAPE = (6, 5, 7, 10)
"""Volumes, slices, rows and columns of padded sequences; multiples of 1, 2 and 3 volumes."""

THERE = (3, 4)
"""Volumes, or 2 where an image has two, and slices that are no padding."""


def inputs(num: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    num_volumes, num_slices, *shape = SHAPE
    return {
        "slices_BTSHW": torch.randn(num, num_volumes, num_slices, *shape, generator=generator),
        "slice_mm_BS": 4.0 * torch.arange(num_slices).float().expand(num, -1) - 8.0,
        "volume_s_BT": 2.2 * torch.arange(num_volumes).float().expand(num, -1),
    }


def cut(whole: dict[str, Tensor], num_volumes: int, num_slices: int) -> dict[str, Tensor]:
    return {
        "slices_BTSHW": whole["slices_BTSHW"][:, :num_volumes, :num_slices],
        "slice_mm_BS": whole["slice_mm_BS"][:, :num_slices],
        "volume_s_BT": whole["volume_s_BT"][:, :num_volumes],
    }


def masks(num_volumes: int, num_slices: int, num: int = 2) -> dict[str, Tensor]:
    return {
        "is_volume_BT": (torch.arange(SHAPE[0]) < num_volumes).expand(num, -1),
        "is_slice_BS": (torch.arange(SHAPE[1]) < num_slices).expand(num, -1),
    }


@pytest.mark.parametrize("filling", [0.0, 1e3, float("nan")])
@pytest.mark.parametrize("seed", range(20))
def test_a_masked_forward_is_that_of_the_input_without_padding(seed: int, filling: float) -> None:
    config = drawn_config(seed)
    num_volumes, num_slices = 2 if config.volumes_per_image == 2 else THERE[0], THERE[1]
    model, whole = stirred(config, SHAPE), inputs()
    expected = model(**cut(whole, num_volumes, num_slices))
    padded = whole["slices_BTSHW"].clone()
    padded[:, num_volumes:], padded[:, :, num_slices:] = filling, filling
    found = model(**{**whole, "slices_BTSHW": padded}, **masks(num_volumes, num_slices))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("slice_pooling", POOLINGS)
@pytest.mark.parametrize("temporal_pooling", POOLINGS)
@pytest.mark.parametrize("is_causal", [False, True])
def test_padding_anywhere_changes_no_logit_and_no_gradient_under_every_pooling(
    slice_pooling: str, temporal_pooling: str, is_causal: bool
) -> None:
    model = stirred(
        ModelConfig.model_validate(
            {
                **SMALL,
                "slice_pooling": slice_pooling,
                "temporal_pooling": temporal_pooling,
                "temporal_causal": is_causal,
            }
        ),
        SHAPE,
    )
    whole = inputs()
    there = {
        "is_volume_BT": torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]]).bool(),
        "is_slice_BS": torch.tensor([[0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]).bool(),
    }
    is_there = there["is_volume_BT"][:, :, None] & there["is_slice_BS"][:, None]
    noise = torch.where(is_there[..., None, None], 0.0, torch.randn(whole["slices_BTSHW"].shape))
    padded = (whole["slices_BTSHW"] + noise).requires_grad_()
    logits = model(**{**whole, "slices_BTSHW": padded}, **there)
    torch.testing.assert_close(logits, model(**whole, **there), atol=1e-6, rtol=1e-6)
    logits.square().sum().backward()
    assert padded.grad is not None
    assert (padded.grad.abs().sum(dim=(-1, -2)) > 0).eq(is_there).all()


def test_masks_of_everything_are_no_masks() -> None:
    model, whole = stirred(ModelConfig.model_validate(SMALL), SHAPE), inputs()
    torch.testing.assert_close(model(**whole, **masks(6, 5)), model(**whole))


def test_an_image_with_a_volume_of_padding_is_padding() -> None:
    model = stirred(ModelConfig.model_validate({**SMALL, "volumes_per_image": 3}), SHAPE)
    whole = inputs()
    torch.testing.assert_close(model(**whole, **masks(4, 5)), model(**whole, **masks(3, 5)))


def test_causal_volumes_are_blind_to_later_ones() -> None:
    generator = torch.Generator().manual_seed(4)
    block = AttentionBlock(8, 2, mlp_ratio=2.0).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    tokens = torch.randn(2, 5, 8, generator=generator)
    changed = tokens.clone()
    changed[:, 3] += torch.linspace(-1.0, 1.0, 8)
    is_there = torch.ones(2, 5, dtype=torch.bool)
    for told in ({"is_causal": True}, {"mask": attention_mask(is_there, is_causal=True)}):
        before, after = block(tokens, **told), block(changed, **told)
        assert torch.equal(before[:, :3], after[:, :3])
        assert (before[:, 3:] != after[:, 3:]).any(dim=-1).all()


def test_a_causal_mask_and_the_causal_path_agree() -> None:
    block = AttentionBlock(8, 2, mlp_ratio=2.0).eval()
    torch.nn.init.normal_(block.proj.weight)
    tokens = torch.randn(2, 5, 8)
    mask = attention_mask(torch.ones(2, 5, dtype=torch.bool), is_causal=True)
    torch.testing.assert_close(block(tokens, mask=mask), block(tokens, is_causal=True))
