from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from spectrum.config import pin_weights
from spectrum.model.encoder import build_encoder
from spectrum.training.checkpoints import read_checkpoint
from spectrum.training.fold_fit import FoldFit
from spectrum.training.loop import fit_fold
from spectrum.training.place import Parallel, Place
from spectrum.training.resident import ResidentData
from tests.unit.training.planted import SHAPE_SHW, halves, planted_data, tiny_config


def stored_weights(path: Path) -> Path:
    """Weights of another encoder of the same shape."""
    torch.manual_seed(11)
    encoder = build_encoder(tiny_config(model__amplitude_fraction=0.0).model, SHAPE_SHW[1:])
    save_file(dict(encoder.state_dict()), path)
    return path


def test_every_fold_starts_from_the_weights_and_its_checkpoint_needs_them_no_more(
    tmp_path: Path,
) -> None:
    path = stored_weights(tmp_path / "vit.safetensors")
    config = pin_weights(tiny_config(model__weights=str(path), model__amplitude_fraction=0.0))
    data = planted_data()
    place = Place.choose(config.training, Parallel())
    fold = halves(data)[0]
    fit = FoldFit(ResidentData.place(data, place.device), fold, config, place=place)
    begun = fit.model.encoder.state_dict()
    assert all(torch.equal(begun[name], value) for name, value in load_file(path).items())

    list(fit_fold(data, fold, config, checkpoint=tmp_path / "kept"))
    path.unlink()
    _, header = read_checkpoint(tmp_path / "kept")
    assert header.config.model.weights_sha256 == config.model.weights_sha256
