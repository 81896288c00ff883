from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum.config import ModelConfig, OptimizerConfig
from spectrum.model.slice_vit import build_model
from spectrum.training.schedule import build_optimizer, lr_at

CONFIG = OptimizerConfig(lr=0.1, warmup_fraction=0.2, final_lr_fraction=0.01)


@settings(deadline=None)
@given(st.integers(1, 500))
def test_the_rate_rises_to_its_peak_then_never_rises_again(num_steps: int) -> None:
    rates = [lr_at(step, num_steps=num_steps, config=CONFIG) for step in range(num_steps)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.1)
    assert peak <= 0.2 * num_steps
    assert all(one < two for one, two in pairwise(rates[:peak]))
    assert all(one >= two for one, two in pairwise(rates[peak:]))


def test_the_last_step_has_the_final_rate() -> None:
    assert lr_at(99, num_steps=100, config=CONFIG) == pytest.approx(0.001)


def test_the_first_step_is_not_lost_to_a_rate_of_zero() -> None:
    assert lr_at(0, num_steps=100, config=CONFIG) == pytest.approx(0.1 / 20)


def test_decay_leaves_out_biases_norms_and_positions() -> None:
    model = build_model(
        ModelConfig(embed_dim=16, depth=1, patch_pooling="position", slice_pooling="position"),
        num_slices=3,
        slice_shape=(7, 9),
        num_volumes=2,
        num_classes=2,
    )
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, free = build_optimizer(model, OptimizerConfig(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    free_names = {names[id(p)] for p in free["params"]}
    assert free_names >= {
        "slice_position",
        "temporal_position",
        "encoder.pos_embed",
        "slice_pool.position_weight",
        "norm.weight",
        "head.bias",
    }
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert "encoder.patch_embed.proj.weight" in {names[id(p)] for p in decayed["params"]}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    assert all(isinstance(p, torch.nn.Parameter) for p in decayed["params"])


def test_decay_leaves_out_waves_of_positions_as_it_does_tables() -> None:
    model = build_model(
        ModelConfig(embed_dim=16, depth=1, slice_position="mm", temporal_position="seconds"),
        num_slices=3,
        slice_shape=(7, 9),
        num_volumes=2,
        num_classes=2,
    )
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, free = build_optimizer(model, OptimizerConfig()).param_groups
    waves = {"slice_position.maps.weight", "temporal_position.maps.weight"}
    assert waves <= {names[id(p)] for p in free["params"]}
    assert "patch_pool" in " ".join(names[id(p)] for p in decayed["params"])
