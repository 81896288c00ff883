from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from spectrum.config import ModelConfig, TrialConfig, fingerprint, pin_weights
from spectrum.errors import CheckpointError, ConfigError
from spectrum.model.encoder import Encoder, build_encoder
from spectrum.model.weights import start_from_weights

NAME = "vit_tiny_patch16_224"


def pretrained(**options: object) -> torch.nn.Module:
    """A timm ViT as its makers would store it: colours, classes, square patches."""
    torch.manual_seed(2)
    model = timm.create_model(NAME, num_classes=7, img_size=64, depth=2, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval()


def config(path: Path | None, **options: object) -> ModelConfig:
    given = {
        "backbone": NAME,
        "patch_size": 16,
        "amplitude_fraction": 0.0,
        "attention_heads": 1,
        "patch_pooling": "cls",
        "weights": None if path is None else str(path),
    }
    return ModelConfig.model_validate({**given, **options})


def encoder(wanted: ModelConfig, shape: tuple[int, int] = (64, 64)) -> Encoder:
    """The encoder of timm with two blocks, as the stored one."""
    built = build_encoder(wanted, shape)
    del built.blocks[2:]
    return built.eval()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "vit.safetensors"
    save_file(dict(pretrained().state_dict()), path)
    return path


def test_grey_images_give_the_tokens_of_the_pretrained_model(stored: Path) -> None:
    ours = encoder(config(stored))
    left_out = start_from_weights(ours, config(stored))
    grey = torch.randn(2, 1, 64, 64)
    expected = pretrained().forward_features(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(ours.forward_features(grey), expected, atol=1e-4, rtol=1e-4)
    assert left_out == ("head.bias", "head.weight")


def test_equal_volumes_as_channels_give_the_tokens_of_one(stored: Path) -> None:
    wanted = config(stored, volumes_per_image=3)
    one, three = encoder(config(stored)), encoder(wanted)
    start_from_weights(one, config(stored))
    start_from_weights(three, wanted)
    grey = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(
        three.forward_features(grey.expand(-1, 3, -1, -1)),
        one.forward_features(grey),
        atol=1e-4,
        rtol=1e-4,
    )


def test_positions_are_resampled_to_slices_of_another_shape(stored: Path) -> None:
    ours = encoder(config(stored), (40, 90))
    start_from_weights(ours, config(stored))
    theirs = pretrained().pos_embed
    assert ours.pos_embed.shape == (1, 1 + 3 * 6, 192)
    torch.testing.assert_close(ours.pos_embed[:, 0], theirs[:, 0])
    low, high = theirs[:, 1:].min(), theirs[:, 1:].max()
    assert ours.pos_embed[:, 1:].min() > 2 * low
    assert ours.pos_embed[:, 1:].max() < 2 * high
    assert ours.pos_embed.std() > 0.5 * theirs.std()


def test_the_class_token_keeps_its_position_where_register_tokens_go(tmp_path: Path) -> None:
    theirs = pretrained(reg_tokens=4)
    path = tmp_path / "registers.safetensors"
    save_file(dict(theirs.state_dict()), path)
    wanted = config(path)
    ours = encoder(wanted)
    left_out = start_from_weights(ours, wanted)
    assert "reg_token" in left_out
    assert ours.pos_embed.shape == (1, 1 + 16, 192)
    torch.testing.assert_close(ours.pos_embed[:, 0], theirs.pos_embed[:, 0])
    torch.testing.assert_close(ours.pos_embed[:, 1:], theirs.pos_embed[:, 5:])


def test_a_file_that_is_written_again_is_read_again_and_encoders_share_no_memory(
    stored: Path,
) -> None:
    first, again = encoder(config(stored)), encoder(config(stored))
    start_from_weights(first, config(stored))
    with torch.no_grad():
        first.norm.bias += 7.0
    start_from_weights(again, config(stored))
    torch.testing.assert_close(again.norm.bias, pretrained().norm.bias)
    changed(stored, {"norm.bias": torch.ones(192)})
    start_from_weights(again, config(stored))
    assert torch.equal(again.norm.bias, torch.ones(192))


def test_an_image_twice_as_large_looks_the_same_to_patches_twice_as_large(stored: Path) -> None:
    large = config(stored, patch_size=32)
    ours, theirs = encoder(large, (128, 128)), encoder(config(stored))
    start_from_weights(ours, large)
    start_from_weights(theirs, config(stored))
    image = torch.randn(1, 1, 16, 16).repeat(1, 1, 4, 4)
    # Patches are resized one by one, as the filters are.
    grown = torch.nn.functional.interpolate(
        image[..., :16, :16], size=(32, 32), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(
        ours.patch_embed(grown.repeat(1, 1, 4, 4)), theirs.patch_embed(image), atol=1e-3, rtol=1e-3
    )


def test_an_encoder_without_a_class_token_leaves_it_out_by_name(stored: Path) -> None:
    wanted = config(
        stored,
        backbone="vit",
        embed_dim=192,
        depth=2,
        num_heads=3,
        mlp_ratio=4.0,
        patch_pooling="position",
    )
    ours = build_encoder(wanted, (64, 64))
    left_out = start_from_weights(ours, wanted)
    assert left_out == ("cls_token", "head.bias", "head.weight")
    torch.testing.assert_close(ours.pos_embed, pretrained().pos_embed[:, 1:])


def test_positions_that_are_no_square_need_to_be_told_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    torch.manual_seed(2)
    wide = timm.create_model(NAME, num_classes=0, img_size=(32, 96), depth=2)
    save_file(dict(wide.state_dict()), path)
    ours, same = encoder(config(path), (64, 64)), encoder(config(path), (32, 96))
    with pytest.raises(CheckpointError, match=r"for 13 tokens.*pretrained_cfg.input_size"):
        start_from_weights(ours, config(path))
    start_from_weights(same, config(path))
    torch.testing.assert_close(same.pos_embed, wide.pos_embed)
    told = {"architecture": NAME, "pretrained_cfg": {"input_size": [3, 32, 96]}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    start_from_weights(ours, config(path))
    squeezed = wide.pos_embed[:, 1:].view(1, 2, 6, 192).mean(dim=(1, 2))
    torch.testing.assert_close(ours.pos_embed[:, 1:].mean(dim=1), squeezed, atol=0.02, rtol=0.1)


def test_a_header_of_another_architecture_is_refused(stored: Path) -> None:
    told = {"architecture": "vit_small_patch16_224"}
    stored.with_suffix(".json").write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=f"vit_small_patch16_224.*backbone is {NAME}"):
        start_from_weights(encoder(config(stored)), config(stored))


def changed(path: Path, change: dict[str, Tensor | None]) -> Path:
    tensors = dict(pretrained().state_dict())
    for name, tensor in change.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.norm1.bias": None}, r"1 tensors missing: blocks\.0\.norm1\.bias"),
        ({"adapter.weight": torch.zeros(2)}, r"1 tensors without a place: adapter\.weight"),
        (
            {"blocks.1.mlp.fc1.weight": torch.zeros(100, 192)},
            r"blocks\.1\.mlp\.fc1\.weight of shape \(100, 192\).*wants \(768, 192\)",
        ),
        (
            {"pos_embed": torch.zeros(1, 17, 100)},
            r"pos_embed of shape \(1, 17, 100\).*wants \(1, 17, 192\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_shape(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    path = changed(tmp_path / "other.safetensors", change)
    ours = encoder(config(path))
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        start_from_weights(ours, config(path))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_pickled_checkpoint_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "vit.pth"
    torch.save(dict(pretrained().state_dict()), path)
    with pytest.raises(CheckpointError, match=r"no safetensors file.*Pickled"):
        start_from_weights(encoder(config(path)), config(path))


def test_other_bytes_under_the_same_path_are_another_trial(stored: Path) -> None:
    trial = TrialConfig(model=config(stored))
    first = pin_weights(trial)
    assert first.model.weights_sha256 == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert pin_weights(first) == first
    changed(stored, {"norm.bias": torch.ones(192)})
    second = pin_weights(trial)
    assert fingerprint(first.model_dump(mode="json")) != fingerprint(
        second.model_dump(mode="json")
    )
    with pytest.raises(ConfigError, match="Restore the file"):
        pin_weights(first)
    with pytest.raises(CheckpointError, match="other weights are another trial"):
        start_from_weights(encoder(first.model), first.model)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    wanted = config(tmp_path / "gone.safetensors")
    with pytest.raises(ConfigError, match=r"gone\.safetensors, where no file is"):
        pin_weights(TrialConfig(model=wanted))
    with pytest.raises(CheckpointError, match=r"gone\.safetensors, where no file is"):
        start_from_weights(encoder(wanted), wanted)


def test_a_configuration_without_weights_is_left_as_it_is() -> None:
    assert pin_weights(TrialConfig()) == TrialConfig()


@pytest.mark.parametrize("name", ["deit3_small_patch16_224", "eva02_tiny_patch14_224"])
def test_other_families_start_from_their_own_weights(tmp_path: Path, name: str) -> None:
    torch.manual_seed(2)
    theirs = timm.create_model(name, num_classes=3, img_size=56, patch_size=14, depth=2).eval()
    path = tmp_path / "model.safetensors"
    save_file(dict(theirs.state_dict()), path)
    wanted = config(path, backbone=name, patch_size=14, patch_pooling="mean")
    ours = encoder(wanted, (56, 56))
    start_from_weights(ours, wanted)
    grey = torch.randn(2, 1, 56, 56)
    expected = theirs.forward_features(grey.expand(-1, 3, -1, -1))
    if name.startswith("eva02"):
        expected = theirs.fc_norm(expected)
    torch.testing.assert_close(ours.forward_features(grey), expected, atol=1e-4, rtol=1e-4)
