from __future__ import annotations

import pytest
import torch
from torch import Tensor

from spectrum.model.slice_vit import build_model
from spectrum.training.augmentation import Augmentation
from spectrum.training.place import Parallel, Place
from spectrum.training.resident import ResidentData
from spectrum.training.step import Stepper, class_weights
from tests.unit.training.planted import halves, planted_data, tiny_config


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    classes = torch.tensor([0] * 6 + [2] * 3 + [3])
    weights = class_weights(classes, 5, is_balanced=True)
    sums = torch.bincount(classes, weights=weights[classes].double(), minlength=5)
    torch.testing.assert_close(sums[[0, 2, 3]], torch.full((3,), 10 / 3).double())
    assert weights[1] == weights[4] == 0


def test_weights_are_one_where_they_are_not_asked_for() -> None:
    assert class_weights(torch.tensor([0, 0, 1]), 2, is_balanced=False).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 32])
def test_parts_of_workers_cover_all_once(num_workers: int, count: int) -> None:
    covered: list[int] = []
    for rank in range(num_workers):
        place = Place(device=torch.device("cpu"), parallel=Parallel(rank, num_workers))
        part = place.part(count)
        covered += range(part.start, part.stop)
    assert covered == list(range(count))


class LonePlace(Place):
    """A worker of several that keeps its own sums, so that they can be added by hand."""

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor


def gradient_of(rank: int, num_workers: int, batch: Tensor) -> Tensor:
    """The gradient that one worker adds, where nothing is clipped."""
    data = planted_data(num_classes=3)
    fold = halves(data)[0]
    config = tiny_config(optimizer__clip_norm=1e6, training__slice_drop_fraction=0.2)
    place = LonePlace(device=torch.device("cpu"), parallel=Parallel(rank, num_workers))
    torch.manual_seed(5)
    model = build_model(
        config.model, num_slices=2, slice_shape=(7, 9), num_volumes=3, num_classes=3
    )
    stepper = Stepper(
        model,
        ResidentData.place(data, place.device),
        fold,
        training=torch.from_numpy(data.table.sequences_of(fold.training)),
        config=config,
        place=place,
    )
    augmentation = Augmentation(config.training, level=1.0, seed=2, device=place.device)
    slices = stepper.feed.iter_read([batch[place.part(len(batch))]])
    stepper.step(batch, next(iter(slices)), lr=0.001, augmentation=augmentation)
    return stepper.gradient


@pytest.mark.parametrize("num_workers", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_gradients_of_workers_add_up_to_that_of_one(num_workers: int, size: int) -> None:
    batch = torch.tensor([12, 3, 40, 17, 22, 9, 31])[:size]
    together = sum(gradient_of(rank, num_workers, batch) for rank in range(num_workers))
    torch.testing.assert_close(together, gradient_of(0, 1, batch), atol=1e-6, rtol=1e-4)
