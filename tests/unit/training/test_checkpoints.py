from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spectrum.config import TrialConfig
from spectrum.errors import CheckpointError
from spectrum.model.slice_vit import SliceViT, build_model
from spectrum.training.checkpoints import CheckpointHeader, read_checkpoint, write_checkpoint
from tests.unit.training.planted import tiny_config


def build(config: TrialConfig) -> SliceViT:
    return build_model(
        config.model, num_slices=2, slice_shape=(7, 9), num_volumes=3, num_classes=3
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = tiny_config()
    header = CheckpointHeader(
        config=config,
        shape_TSHW=(3, 2, 7, 9),
        classes=("early", "late", "rest"),
        scored_classes=(0, 1),
        fold="first",
        held_out="first",
        epoch=2,
        data_hash="planted",
    )
    write_checkpoint(tmp_path / "fold", build(config).state_dict(), header)
    return tmp_path / "fold"


def test_what_is_written_is_read_back(folder: Path) -> None:
    one, header = read_checkpoint(folder)
    two, _ = read_checkpoint(folder)
    inputs = torch.randn(2, 3, 2, 7, 9)
    assert torch.equal(one(inputs), two(inputs))
    assert header.config == tiny_config()
    assert header.classes == ("early", "late", "rest")
    assert not one.training


def test_a_checkpoint_is_safetensors_and_json_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert json.loads((folder / "model.json").read_text())["format_version"] == 1


def test_changed_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"digest.*restore it or train again"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "change", [{"format_version": 2}, {"stranger": 1}, {"shape_TSHW": [1, 2]}]
)
def test_a_foreign_header_is_refused(folder: Path, change: dict[str, object]) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match="no checkpoint header of this version"):
        read_checkpoint(folder)


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    path = folder / "model.json"
    header = json.loads(path.read_text())
    header["config"]["model"]["depth"] = 2
    path.write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="does not fit the model"):
        read_checkpoint(folder)
