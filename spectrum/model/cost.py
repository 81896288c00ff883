"""What a model costs before it exists: parameters and arithmetic, without memory for weights.

The model is built and called on torch's meta device, where tensors have shapes and no values. Not
here: how long a step takes on some machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spectrum.config import ModelConfig
from spectrum.model.slice_vit import build_model, count_parameters

__all__ = ["ModelCost", "count_model"]


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Trained values, and floating-point operations of one sequence's forward pass.

    A multiplication and its addition are two operations, as in torch's counter; matrix products,
    convolutions and attention count, sums and norms do not. A training step takes about three
    times as many.
    """

    num_parameters: int
    flops_per_sequence: int


@lru_cache(maxsize=4096)
def count_model(
    config: ModelConfig, shape_TSHW: tuple[int, int, int, int], num_classes: int
) -> ModelCost:
    """Return the cost of the model of a configuration.

    Parameters
    ----------
    shape_TSHW : volumes, slices, rows and columns of a sequence
    num_classes : K

    Raises
    ------
    ConfigError
        Where no model can be built of the configuration and the shape.
    """
    num_volumes, num_slices, height, width = shape_TSHW
    # The math path of attention is made of products that the counter knows on any device.
    with torch.device("meta"), torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        model = build_model(
            config,
            num_slices=num_slices,
            slice_shape=(height, width),
            num_volumes=num_volumes,
            num_classes=num_classes,
        ).eval()
        with FlopCounterMode(display=False) as counter:
            model(
                torch.empty(1, *shape_TSHW),
                slice_mm_BS=torch.empty(1, num_slices),
                volume_s_BT=torch.empty(1, num_volumes),
            )
    return ModelCost(count_parameters(model), counter.get_total_flops())
