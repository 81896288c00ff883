from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from spectrum.config import TrialConfig
from spectrum.model.slice_vit import build_model
from spectrum.training.augmentation import Augmentation
from spectrum.training.mixing import draw_mixing
from spectrum.training.place import Parallel, Place
from spectrum.training.resident import ResidentData
from spectrum.training.step import Stepper
from tests.unit.training.planted import halves, planted_data, tiny_config


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 32])
def test_parts_of_workers_cover_all_once(num_workers: int, count: int) -> None:
    covered: list[int] = []
    for rank in range(num_workers):
        place = Place(device=torch.device("cpu"), parallel=Parallel(rank, num_workers))
        part = place.part(count)
        covered += range(part.start, part.stop)
    assert covered == list(range(count))


BATCH = torch.tensor([12, 3, 40, 17, 22, 9, 31])


class Synchronisations(TorchDispatchMode):
    """Counts what would make the host wait for a device: values that become Python numbers."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = ("_local_scalar_dense", "nonzero", "masked_select", "equal")
        self.count += any(name == func.overloadpacket.__name__ for name in waits)
        return func(*args, **(kwargs or {}))


class LonePlace(Place):
    """A worker of several that keeps its own sums, so that they can be added by hand."""

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor


def gradient_of(rank: int, num_workers: int, batch: Tensor, **paths: object) -> Tensor:
    """The gradient that one worker adds, where nothing is clipped."""
    config = tiny_config(optimizer__clip_norm=1e6, training__slice_drop_fraction=0.2, **paths)
    return stepped(rank, num_workers, batch, config).gradient


def stepped(rank: int, num_workers: int, batch: Tensor, config: TrialConfig) -> Stepper:
    """One worker after its first step."""
    data = planted_data(num_classes=3)
    fold = halves(data)[0]
    place = LonePlace(device=torch.device("cpu"), parallel=Parallel(rank, num_workers))
    torch.manual_seed(5)
    model = build_model(
        config.model, num_slices=2, slice_shape=(7, 9), num_volumes=3, num_classes=3
    )
    if config.training.gradient_checkpointing:
        model.encoder.set_grad_checkpointing()
    stepper = Stepper(
        model,
        ResidentData.place(data, place.device),
        fold,
        training=torch.from_numpy(data.table.sequences_of(fold.training)),
        config=config,
        place=place,
    )
    augmentation = Augmentation(config.training, level=1.0, seed=2, device=place.device)
    own, mixing = batch[place.part(len(batch))], None
    if config.training.mixup_alpha:
        mixing = draw_mixing(batch, alpha=config.training.mixup_alpha, seed=2, batch_index=0)
        own = torch.cat([own, mixing.partners[place.part(len(batch))]])
    slices = next(iter(stepper.feed.iter_read([own])))
    with Synchronisations() as seen:
        stepper.step(batch, slices, lr=0.001, augmentation=augmentation, mixing=mixing)
    assert seen.count == 0
    return stepper


@pytest.mark.parametrize("num_workers", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_gradients_of_workers_add_up_to_that_of_one(num_workers: int, size: int) -> None:
    batch = BATCH[:size]
    for paths in ({}, {"training__mixup_alpha": 0.4}, {"training__loss": "focal"}):
        together = sum(
            gradient_of(rank, num_workers, batch, **paths) for rank in range(num_workers)
        )
        torch.testing.assert_close(
            together, gradient_of(0, 1, batch, **paths), atol=1e-6, rtol=1e-4
        )


def test_no_step_waits_for_the_device_whatever_is_switched_on() -> None:
    """``stepped`` counts; here with everything on."""
    config = tiny_config(
        training__mixup_alpha=0.4,
        training__loss="focal",
        training__mirror_fraction=0.5,
        training__rotation_degrees=5.0,
        training__shift_fraction=0.05,
        training__temporal_mask_fraction=0.4,
        training__spatial_mask_fraction=0.2,
        training__intensity_scale_fraction=0.1,
        training__intensity_shift_fraction=0.1,
        training__slice_drop_fraction=0.2,
        optimizer__accumulation_steps=2,
    )
    assert stepped(0, 1, BATCH, config).totals[3] == len(BATCH)


def test_accumulation_gives_the_gradient_of_the_whole_mixed_batch() -> None:
    mixed = {"training__mixup_alpha": 0.4}
    parts = gradient_of(0, 1, BATCH, **mixed, optimizer__accumulation_steps=3)
    torch.testing.assert_close(parts, gradient_of(0, 1, BATCH, **mixed), atol=1e-6, rtol=1e-4)


def test_checkpointing_gradients_changes_no_gradient_dropout_included() -> None:
    paths = {"model__depth": 3, "model__drop_rate": 0.2}
    again = gradient_of(0, 1, BATCH, **paths, training__gradient_checkpointing=True)
    assert torch.equal(again, gradient_of(0, 1, BATCH, **paths))
