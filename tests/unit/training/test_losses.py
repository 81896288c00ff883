from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from spectrum.config import TrainingConfig
from spectrum.training.losses import class_weights, sequence_losses


def test_balanced_weights_give_every_class_the_same_sum() -> None:
    classes = torch.tensor([0] * 6 + [2] * 3 + [3])
    weights = class_weights(classes, 5, is_balanced=True)
    sums = torch.bincount(classes, weights=weights[classes].double(), minlength=5)
    torch.testing.assert_close(sums[[0, 2, 3]], torch.full((3,), 10 / 3).double())
    assert weights[1] == weights[4] == 0


def test_weights_are_one_where_they_are_not_asked_for() -> None:
    assert class_weights(torch.tensor([0, 0, 1]), 2, is_balanced=False).tolist() == [1.0, 1.0]


def test_a_focal_loss_without_exponent_is_the_cross_entropy() -> None:
    logits, classes = torch.randn(7, 3), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    config = TrainingConfig(loss="focal", focal_gamma=0.0, label_smoothing=0.2)
    expected = functional.cross_entropy(logits, classes, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(sequence_losses(logits, classes, config), expected)


def test_a_focal_loss_weighs_a_sequence_by_what_is_left_to_learn() -> None:
    config = TrainingConfig(loss="focal", focal_gamma=2.0, label_smoothing=0.0)
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])
    losses = sequence_losses(logits, torch.tensor([0, 1]), config)
    expected = torch.tensor([0.25**2 * -math.log(0.75), 0.75**2 * -math.log(0.25)])
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_focal_loss_has_a_finite_gradient_where_all_is_learned(gamma: float) -> None:
    logits = torch.tensor([[90.0, -90.0], [0.0, 0.0]], requires_grad=True)
    config = TrainingConfig(loss="focal", focal_gamma=gamma, label_smoothing=0.0)
    torch.autograd.backward(sequence_losses(logits, torch.tensor([0, 0]), config).sum())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
