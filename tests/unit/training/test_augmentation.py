from __future__ import annotations

import pytest
import torch

from spectrum.config import TrainingConfig
from spectrum.data.sequences import AXES_OF_PLANE
from spectrum.training.augmentation import LEFT_RIGHT_AXIS, Augmentation

CPU = torch.device("cpu")


def augmentation(seed: int = 0, level: float = 1.0, **options: float) -> Augmentation:
    return Augmentation(TrainingConfig.model_validate(options), level=level, seed=seed, device=CPU)


def test_a_part_is_changed_as_it_is_in_the_whole_batch() -> None:
    slices = torch.randn(7, 2, 3, 4, 5)
    options = {"noise_std": 0.5, "slice_drop_fraction": 0.3}
    whole = augmentation(**options).apply(slices, part=slice(0, 7), num_global=7)
    part = augmentation(**options).apply(slices[2:5], part=slice(2, 5), num_global=7)
    assert torch.equal(whole[2:5], part)


ALL = {
    "noise_std": 0.5,
    "slice_drop_fraction": 0.2,
    "temporal_mask_fraction": 0.5,
    "spatial_mask_fraction": 0.3,
    "intensity_scale_fraction": 0.2,
    "intensity_shift_fraction": 0.3,
    "rotation_degrees": 10.0,
    "shift_fraction": 0.1,
    "mirror_fraction": 0.5,
}


@pytest.mark.parametrize("num_workers", [1, 2, 4, 9])
def test_workers_together_change_two_batches_as_one_does(num_workers: int) -> None:
    batches = [torch.randn(7, 4, 3, 6, 5), torch.randn(5, 4, 3, 6, 5)]
    alone = augmentation(**ALL)
    workers = [augmentation(**ALL) for _ in range(num_workers)]
    for slices in batches:
        count = len(slices)
        whole = alone.apply(slices, part=slice(0, count), num_global=count)
        parts = []
        for rank, worker in enumerate(workers):
            part = slice(count * rank // num_workers, count * (rank + 1) // num_workers)
            parts.append(worker.apply(slices[part], part=part, num_global=count))
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_change_alone_changes_each_batch_in_its_own_way(name: str) -> None:
    slices = torch.randn(6, 4, 5, 8, 7)
    options = {"noise_std": 0.0, name: ALL[name]}

    def changed(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = augmentation(seed, **options)
        first, second = (drawn.apply(slices, part=slice(0, 6), num_global=6) for _ in range(2))
        return first, second

    first, second = changed(1)
    assert not torch.equal(first, slices)
    assert not torch.equal(first, second)
    assert not torch.equal(first, changed(2)[0])
    assert all(torch.equal(one, two) for one, two in zip((first, second), changed(1), strict=True))


def test_a_further_change_leaves_the_draws_of_the_others_alone() -> None:
    slices = torch.ones(30, 1, 10, 2, 2)
    options = {"noise_std": 0.0, "slice_drop_fraction": 0.3}
    alone = augmentation(**options).apply(slices, part=slice(0, 30), num_global=30)
    both = augmentation(**options, intensity_scale_fraction=0.1).apply(
        slices, part=slice(0, 30), num_global=30
    )
    assert torch.equal(both == 0, alone == 0)


def test_hidden_volumes_are_one_block_of_at_most_their_share() -> None:
    slices = torch.arange(1.0, 11.0)[None, :, None, None, None].expand(300, 10, 1, 1, 1)
    changed = augmentation(noise_std=0.0, temporal_mask_fraction=0.25).apply(
        slices, part=slice(0, 300), num_global=300
    )
    is_hidden = (changed != slices)[:, :, 0, 0, 0]
    lengths = is_hidden.sum(dim=1)
    starts = (is_hidden[:, 1:] & ~is_hidden[:, :-1]).sum(dim=1) + is_hidden[:, 0]
    assert sorted(set(lengths.tolist())) == [0, 1, 2, 3]
    assert int(starts.max()) == 1
    assert is_hidden.any(dim=0).all()


def test_intensities_are_drawn_evenly_about_no_change() -> None:
    slices = torch.full((2000, 1, 1, 1, 1), 2.0)
    options = {"noise_std": 0.0, "intensity_scale_fraction": 0.2, "level": 4.0}
    scaled = augmentation(**options).apply(slices, part=slice(0, 2000), num_global=2000)
    assert float(scaled.min()) >= 1.6
    assert float(scaled.max()) <= 2.4
    assert float(scaled.mean()) == pytest.approx(2.0, abs=0.02)
    shifted = augmentation(noise_std=0.0, intensity_shift_fraction=0.25, level=4.0).apply(
        slices, part=slice(0, 2000), num_global=2000
    )
    assert float(shifted.min()) == pytest.approx(1.0, abs=0.02)
    assert float(shifted.max()) == pytest.approx(3.0, abs=0.02)


def test_a_cut_cuboid_takes_at_most_its_share() -> None:
    slices = torch.ones(200, 1, 20, 20, 20)
    changed = augmentation(noise_std=0.0, spatial_mask_fraction=0.3).apply(
        slices, part=slice(0, 200), num_global=200
    )
    shares = (changed == 0).float().mean(dim=(1, 2, 3, 4))
    assert float(shares.max()) < 0.34
    assert float(shares.mean()) == pytest.approx(0.15, abs=0.02)


@pytest.mark.parametrize(("plane", "axis"), [("axial", 4), ("coronal", 4), ("sagittal", 2)])
def test_left_and_right_change_places_along_x_in_every_plane(plane: str, axis: int) -> None:
    volume_ZYX = torch.arange(24.0).reshape(2, 3, 4)
    turned_ZYX = volume_ZYX.flip(2)
    axes = [axis_of_run - 1 for axis_of_run in AXES_OF_PLANE[plane][1:]]
    slices, expected = (volume.permute(axes)[None, None] for volume in (volume_ZYX, turned_ZYX))
    changed = Augmentation(
        TrainingConfig(noise_std=0.0, mirror_fraction=1.0),
        level=1.0,
        seed=0,
        device=CPU,
        left_right_axis=LEFT_RIGHT_AXIS[plane],
    ).apply(slices, part=slice(0, 1), num_global=1)
    assert LEFT_RIGHT_AXIS[plane] == axis
    assert torch.equal(changed, expected)


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
