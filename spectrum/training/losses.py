"""What a sequence adds to the loss, and how much its class weighs.

Not here: classes that a fold does not score, whose logits are left out before (``step``).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spectrum.config import TrainingConfig

__all__ = ["class_weights", "sequence_losses"]


def class_weights(class_index: Tensor, num_classes: int, *, is_balanced: bool) -> Tensor:
    """Return the weight of each class, (K,): N / (K n) for a class with n of N sequences, or 1."""
    counts = torch.bincount(class_index, minlength=num_classes).double()
    if not is_balanced:
        return torch.ones_like(counts, dtype=torch.float32)
    num_present = (counts > 0).sum()
    weights = len(class_index) / (num_present * counts.clamp(min=1.0))
    return torch.where(counts > 0, weights, 0.0).float()


def sequence_losses(logits_BK: Tensor, class_B: Tensor, config: TrainingConfig) -> Tensor:
    """Return the loss of each sequence (B,), without the weight of its class.

    Cross-entropy with label smoothing; with ``loss: focal`` times ``(1 - p)^focal_gamma``, where p
    is the probability of the sequence's class.
    """
    losses = functional.cross_entropy(
        logits_BK, class_B, reduction="none", label_smoothing=config.label_smoothing
    )
    if config.loss == "cross_entropy":
        return losses
    log_p_B = logits_BK.log_softmax(dim=1).gather(1, class_B[:, None])[:, 0]
    # Of p near 1 the power's gradient would be infinite for an exponent below 1.
    rest_B = (1.0 - log_p_B.exp()).clamp(min=torch.finfo(losses.dtype).eps)
    return losses * rest_B**config.focal_gamma
