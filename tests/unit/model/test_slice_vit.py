from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spectrum.config import ModelConfig
from spectrum.errors import ConfigError
from spectrum.model.slice_vit import SliceViT, build_model, count_parameters
from tests.unit.model.models import SMALL, drawn_config, stirred

SHAPE = {"num_slices": 3, "slice_shape": (7, 10), "num_volumes": 5, "num_classes": 4}


def small_model(**options: object) -> SliceViT:
    """A model some way from its start, where attention is the identity."""
    torch.manual_seed(0)
    model = build_model(ModelConfig.model_validate({**SMALL, **options}), **SHAPE).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def slices(num: int = 2) -> Tensor:
    return torch.randn(num, 5, 3, 7, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("patch_pooling", ["cls", "mean", "attention", "position"])
@pytest.mark.parametrize("slice_pooling", ["cls", "mean", "attention", "position"])
@pytest.mark.parametrize("temporal_pooling", ["cls", "mean", "attention", "position"])
def test_sequences_become_one_logit_a_class_under_every_pooling(
    patch_pooling: str, slice_pooling: str, temporal_pooling: str
) -> None:
    model = small_model(
        patch_pooling=patch_pooling,
        slice_pooling=slice_pooling,
        temporal_pooling=temporal_pooling,
    )
    assert model(slices()).shape == (2, 4)


@pytest.mark.parametrize("patch_size", [1, 2, 3, 5, 7, 16])
def test_every_voxel_counts_and_padding_adds_none(patch_size: int) -> None:
    model = small_model(patch_size=patch_size)
    inputs = slices(1).requires_grad_()
    model(inputs)[0, 0].backward()
    assert inputs.grad is not None
    assert inputs.grad.shape == (1, 5, 3, 7, 10)
    assert (inputs.grad != 0).all()


def test_zeros_given_and_zeros_padded_are_the_same() -> None:
    config = ModelConfig.model_validate(SMALL)
    cut = small_model()
    whole = build_model(config, **{**SHAPE, "slice_shape": (8, 12)}).eval()
    whole.load_state_dict(cut.state_dict())
    padded = torch.nn.functional.pad(slices(), (0, 2, 0, 1))
    torch.testing.assert_close(whole(padded), cut(slices()))


def test_permuting_the_batch_permutes_the_logits() -> None:
    model = small_model()
    inputs = slices(6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(model(inputs[order]), model(inputs)[order])


@pytest.mark.parametrize("axis", [1, 2])
def test_the_order_of_volumes_and_of_slices_matters(axis: int) -> None:
    model = small_model()
    assert not torch.allclose(model(slices()), model(slices().flip(axis)), atol=1e-6)


def test_one_slice_one_volume_one_voxel_is_a_sequence() -> None:
    model = build_model(
        ModelConfig.model_validate(SMALL),
        num_slices=1,
        slice_shape=(1, 1),
        num_volumes=1,
        num_classes=2,
    )
    assert model(torch.randn(1, 1, 1, 1, 1)).shape == (1, 2)


def test_no_blocks_leave_a_model_without_mixing() -> None:
    assert small_model(slice_depth=0, temporal_depth=0)(slices()).shape == (2, 4)


def test_depth_adds_parameters() -> None:
    assert count_parameters(small_model(slice_depth=2)) > count_parameters(small_model())


def test_a_timm_vit_brings_its_own_width() -> None:
    model = build_model(
        ModelConfig(backbone="vit_tiny_patch16_224", patch_size=8, attention_heads=3), **SHAPE
    )
    assert model.encoder.embed_dim == 192
    assert model(slices()).shape == (2, 4)


def test_an_unknown_backbone_names_the_nearest_vit() -> None:
    with pytest.raises(
        ConfigError, match=r"vit_tinny_patch16_224.*nearest is vit_tiny_patch16_224"
    ):
        build_model(ModelConfig(backbone="vit_tinny_patch16_224"), **SHAPE)


def test_a_backbone_that_is_no_vit_is_refused() -> None:
    with pytest.raises(ConfigError, match="no ViT of timm"):
        build_model(ModelConfig(backbone="resnet18"), **SHAPE)


def test_heads_that_do_not_divide_the_width_of_a_backbone_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"width 192.*attention_heads: 5"):
        build_model(ModelConfig(backbone="vit_tiny_patch16_224", attention_heads=5), **SHAPE)


def test_class_token_pooling_needs_a_class_token() -> None:
    with pytest.raises(ConfigError, match="has no class token"):
        build_model(
            ModelConfig(
                backbone="vit_base_patch16_siglip_224", patch_pooling="cls", attention_heads=4
            ),
            **SHAPE,
        )


@pytest.mark.parametrize("seed", range(12))
def test_every_kind_of_model_has_a_gradient_for_every_parameter(seed: int) -> None:
    config = drawn_config(seed)
    model = stirred(config, (6, 3, 7, 10))
    model(
        torch.randn(2, 6, 3, 7, 10),
        slice_mm_BS=torch.randn(2, 3),
        volume_s_BT=torch.arange(6.0).expand(2, -1),
    ).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize("pos_embed", ["learned", "sincos2d", "rope", "none"])
def test_patches_know_their_place_unless_they_are_told_none(pos_embed: str) -> None:
    config = ModelConfig.model_validate({**SMALL, "pos_embed": pos_embed, "patch_pooling": "mean"})
    model = stirred(config, (5, 3, 4, 12))
    images = torch.randn(2, 5, 3, 4, 12, generator=torch.Generator().manual_seed(1))
    is_same = torch.allclose(model(images), model(images.roll(4, dims=-1)), atol=1e-5)
    assert is_same == (pos_embed == "none")


def test_volumes_of_an_image_are_its_channels() -> None:
    model = build_model(
        ModelConfig.model_validate({**SMALL, "volumes_per_image": 5, "temporal_depth": 0}),
        **SHAPE,
    ).eval()
    assert model.encoder.patch_embed.proj.weight.shape == (16, 5, 4, 4)
    assert model(slices()).shape == (2, 4)
    seen = model._images(slices()).view(2, 3, 5, 7, 10)
    torch.testing.assert_close(seen, slices().transpose(1, 2))


def test_volumes_that_make_no_whole_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"5 volumes and model\.volumes_per_image is 2"):
        build_model(ModelConfig.model_validate({**SMALL, "volumes_per_image": 2}), **SHAPE)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("deit3_small_patch16_224", 2),
        ("eva02_tiny_patch14_224", 3),
        ("vit_small_patch16_dinov3", 2),
        ("vit_betwixt_patch16_reg4_gap_256", 2),
    ],
)
def test_families_of_timm_read_slices_of_any_size(name: str, heads: int) -> None:
    model = build_model(
        ModelConfig(backbone=name, patch_size=5, attention_heads=heads), **SHAPE
    ).eval()
    assert model(slices()).shape == (2, 4)


@pytest.mark.parametrize("name", ["vit", "vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_attention_of_encoders_takes_the_fused_path(name: str) -> None:
    model = build_model(ModelConfig(backbone=name, patch_size=8, attention_heads=1), **SHAPE)
    fused = [m.fused_attn for m in model.encoder.modules() if hasattr(m, "fused_attn")]
    assert fused
    assert all(fused)
