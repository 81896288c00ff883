from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spectrum.config import ModelConfig
from spectrum.model.cost import count_model
from tests.unit.model.models import SMALL, drawn_config, stirred

SHAPE = (6, 5, 7, 10)


@pytest.mark.parametrize("seed", range(12))
def test_a_cost_is_that_of_the_model_that_is_built(seed: int) -> None:
    config = drawn_config(seed)
    cost = count_model(config, SHAPE, 3)
    model = stirred(config, SHAPE)
    assert cost.num_parameters == sum(p.numel() for p in model.parameters())
    told = {"slice_mm_BS": torch.zeros(2, 5), "volume_s_BT": torch.zeros(2, 6)}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.zeros(2, *SHAPE), **told)
    assert cost.flops_per_sequence == pytest.approx(counter.get_total_flops() / 2, rel=0.02)


def test_a_linear_layer_costs_two_operations_a_weight() -> None:
    config = ModelConfig.model_validate({**SMALL, "slice_depth": 0, "temporal_depth": 0})
    few, many = (count_model(config, (1, 1, 4, 4), classes) for classes in (2, 12))
    assert many.num_parameters - few.num_parameters == 10 * (16 + 1)
    assert many.flops_per_sequence - few.flops_per_sequence == 10 * 16 * 2


def test_a_named_backbone_costs_what_its_makers_say() -> None:
    config = ModelConfig(
        backbone="vit_small_patch16_224",
        patch_size=16,
        patch_pooling="cls",
        slice_depth=0,
        slice_pooling="mean",
        temporal_depth=0,
    )
    cost = count_model(config, (1, 1, 224, 224), 2)
    # timm's results table: 22.05 M parameters with 1000 classes and RGB, 4.61 G multiply-adds.
    assert cost.num_parameters == pytest.approx(22.05e6 - 385e3 - 295e3, rel=0.01)
    assert cost.flops_per_sequence == pytest.approx(2 * 4.61e9, rel=0.03)


def test_volumes_as_channels_cost_less_than_one_slice_one_image() -> None:
    alone, together = (
        count_model(ModelConfig(volumes_per_image=volumes), (8, 10, 27, 23), 2)
        for volumes in (1, 4)
    )
    assert together.flops_per_sequence < alone.flops_per_sequence / 2


def test_counting_takes_no_memory_for_weights() -> None:
    config = ModelConfig(
        backbone="vit_huge_patch14_224", patch_size=14, attention_heads=1, patch_pooling="mean"
    )
    assert count_model(config, (1, 2, 56, 56), 2).num_parameters > 6e8
