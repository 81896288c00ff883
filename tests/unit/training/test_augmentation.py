from __future__ import annotations

import pytest
import torch

from spectrum.config import TrainingConfig
from spectrum.training.augmentation import Augmentation

CPU = torch.device("cpu")


def augmentation(seed: int = 0, level: float = 1.0, **options: float) -> Augmentation:
    return Augmentation(TrainingConfig.model_validate(options), level=level, seed=seed, device=CPU)


def test_a_part_is_changed_as_it_is_in_the_whole_batch() -> None:
    slices = torch.randn(7, 2, 3, 4, 5)
    options = {"noise_std": 0.5, "slice_drop_fraction": 0.3}
    whole = augmentation(**options).apply(slices, part=slice(0, 7), num_global=7)
    part = augmentation(**options).apply(slices[2:5], part=slice(2, 5), num_global=7)
    assert torch.equal(whole[2:5], part)


def test_noise_is_of_the_order_of_the_training_voxels_and_spares_the_outside() -> None:
    slices = torch.ones(8, 4, 3, 20, 20)
    slices[..., :5] = 0.0
    noisy = augmentation(noise_std=0.1, level=5.0).apply(slices, part=slice(0, 8), num_global=8)
    assert (noisy[..., :5] == 0).all()
    assert float((noisy - slices)[..., 5:].std()) == pytest.approx(0.5, rel=0.02)


def test_whole_slices_are_dropped_at_their_rate_through_all_volumes() -> None:
    slices = torch.ones(200, 3, 10, 2, 2)
    changed = augmentation(noise_std=0.0, slice_drop_fraction=0.25).apply(
        slices, part=slice(0, 200), num_global=200
    )
    of_slice = changed.amax(dim=(1, 3, 4))
    assert torch.equal(of_slice, changed.amin(dim=(1, 3, 4)))
    assert float((of_slice == 0).float().mean()) == pytest.approx(0.25, abs=0.04)


def test_without_augmentation_slices_stay_as_they_are() -> None:
    slices = torch.randn(3, 2, 3, 4, 5)
    assert augmentation(noise_std=0.0).apply(slices, part=slice(0, 3), num_global=3) is slices
