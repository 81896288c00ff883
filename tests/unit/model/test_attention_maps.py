"""Maps of single sequences: attention in the open, shares of one, gradients that are whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spectrum.config import ModelConfig
from spectrum.errors import ConfigError
from spectrum.model.attention_maps import METHODS, contrast, explain
from spectrum.model.attention_maps_recorder import record_attention
from tests.unit.model.models import SMALL, drawn_config, stirred

SHAPE = (6, 3, 7, 9)
CLASSES = (0, 1, 2)
TARGETS = torch.tensor([0, 2])


def sequences(shape: tuple[int, int, int, int] = SHAPE) -> Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))


def inputs_of(config: ModelConfig) -> dict[str, Tensor]:
    inputs = {}
    if config.slice_position == "mm":
        inputs["slice_mm_BS"] = torch.tensor([[-3.0, 0.0, 3.0]] * 2)
    if config.temporal_position == "seconds":
        inputs["volume_s_BT"] = torch.arange(6.0).repeat(2, 1)
    return inputs


@pytest.mark.parametrize("seed", range(20))
def test_attention_in_the_open_changes_no_logit_of_any_model(seed: int) -> None:
    config = drawn_config(seed)
    model, slices, inputs = stirred(config, SHAPE), sequences(), inputs_of(config)
    recorded = record_attention(model, slices, inputs)
    torch.testing.assert_close(recorded.logits_BK, model(slices, **inputs), atol=1e-4, rtol=1e-4)
    for weights in (*recorded.patches.weights, *recorded.slices.weights):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    assert len(recorded.patches.weights) == config.depth
    assert len(recorded.volumes.weights) == config.temporal_depth


@pytest.mark.parametrize("seed", range(12))
def test_rollout_gives_shares_of_one_sequence(seed: int) -> None:
    config = drawn_config(seed)
    model, slices = stirred(config, SHAPE), sequences()
    maps = explain("rollout", model, slices, TARGETS, classes=CLASSES, inputs=inputs_of(config))
    assert maps.shape == slices.shape
    assert (maps >= 0).all()
    assert (maps.flatten(1).sum(dim=1) <= 1 + 1e-5).all()


def test_shares_add_up_to_one_where_slices_need_no_padding() -> None:
    shape = (6, 3, 8, 12)
    model, slices = stirred(ModelConfig(**SMALL), shape), sequences(shape)
    maps = explain("rollout", model, slices, TARGETS, classes=CLASSES)
    torch.testing.assert_close(maps.flatten(1).sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("seed", range(8))
def test_integrated_gradients_add_up_to_the_contrast(seed: int) -> None:
    config = drawn_config(seed)
    model, slices, inputs = stirred(config, SHAPE), sequences(), inputs_of(config)
    maps = explain("gradients", model, slices, TARGETS, classes=CLASSES, inputs=inputs)
    there, nothing = (
        contrast(model(s, **inputs), TARGETS, CLASSES) for s in (slices, torch.zeros_like(slices))
    )
    torch.testing.assert_close(maps.flatten(1).sum(dim=1), there - nothing, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_padding_speaks_for_nothing(method: str) -> None:
    model, slices = stirred(ModelConfig(**SMALL), SHAPE), sequences()
    is_slice, is_volume = torch.ones(2, 3).bool(), torch.ones(2, 6).bool()
    is_slice[0, 2] = is_volume[1, 4] = False
    inputs = {"is_slice_BS": is_slice, "is_volume_BT": is_volume}
    maps = explain(method, model, slices, TARGETS, classes=CLASSES, inputs=inputs)
    assert (maps[0, :, 2] == 0).all()
    assert (maps[1, 4] == 0).all()
    assert (maps[0, :, :2] != 0).any()


@pytest.mark.parametrize("method", METHODS)
def test_the_only_patch_that_the_logits_read_is_named(method: str) -> None:
    config = ModelConfig(**SMALL, slice_depth=0, temporal_depth=0, amplitude_fraction=0.0)
    model, slices = stirred(config, (4, 3, 8, 12)), sequences((4, 3, 8, 12))
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.attn.proj.weight.zero_()
        maps = model.patch_pool.maps.weight.view(16, 6, 16)
        maps[:, [0, 1, 2, 3, 5]] = 0.0
        model.slice_pool.position_weight[[0, 2]] = 0.0
    found = explain(method, model, slices, TARGETS, classes=CLASSES).abs().sum(dim=1)
    assert (found[:, 1, 4:, 4:8] > 0).any()
    found[:, 1, 4:, 4:8] = 0.0
    assert (found == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_map_belongs_to_the_class_that_was_asked_for(method: str) -> None:
    model, slices = stirred(ModelConfig(**SMALL), SHAPE), sequences()
    first, second = (
        explain(method, model, slices, torch.tensor([c, c]), classes=(0, 1)) for c in (0, 1)
    )
    if method == "gradients":
        torch.testing.assert_close(first, -second)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    "backbone", ["vit_tiny_patch16_224", "deit3_small_patch16_224", "eva02_tiny_patch14_224"]
)
def test_encoders_of_timm_by_name_are_rolled_out(backbone: str) -> None:
    config = ModelConfig(backbone=backbone, patch_pooling="cls", attention_heads=3)
    model = stirred(config, (2, 2, 20, 13))
    slices = sequences((2, 2, 20, 13))
    maps = explain("rollout", model, slices, TARGETS, classes=CLASSES)
    assert maps.shape == slices.shape
    assert (maps.flatten(1).sum(dim=1) > 0).any()


def test_an_encoder_whose_attention_cannot_be_seen_is_refused_by_name() -> None:
    model = stirred(ModelConfig(**SMALL), SHAPE)
    model.encoder.blocks[0].attn.fused_attn = False
    with pytest.raises(ConfigError, match=r"encoder \(Block\) shows 2 attentions where 3"):
        explain("rollout", model, sequences(), TARGETS, classes=CLASSES)
