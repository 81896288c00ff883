"""What a fold needs to go on after a stop, as plain tensors and numbers.

The order of sequences, dropout and augmentation are drawn anew from the seed, the fold and the
epoch, so no generator is part of it; nor is the learning rate, which the step decides. Not here:
how it lies on disk (``state_files``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spectrum.errors import CheckpointError
from spectrum.records import EpochRecord

__all__ = ["FitState", "KeptState", "put_back", "tensors_of"]


@dataclass(frozen=True, slots=True)
class KeptState:
    """The epoch that a fold would end with, and its weights by name."""

    epoch: int
    monitor_loss: float | None
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitState:
    """A fold between two epochs.

    ``epoch`` counts the epochs done; ``tensors`` are those of model and optimiser, none where the
    fold is finished; ``scaler`` is that of the loss, empty without one; ``num_parts`` is into how
    many parts a batch is computed; ``records`` are those of the epochs done.
    """

    epoch: int
    is_finished: bool
    tensors: Mapping[str, Tensor]
    scaler: Mapping[str, float]
    kept: KeptState | None
    num_parts: int = 1
    records: tuple[EpochRecord, ...] = ()


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return model and optimiser as few long tensors, (N,), on the CPU.

    One for all values of a kind and type (weights, first moments, ...), in the order of the model:
    hundreds of small ones would take longer to write than a short epoch to compute.
    """
    named = _grouped("model", model.state_dict().values())
    moments: dict[str, list[Tensor]] = {}
    for _, state in sorted(optimizer.state_dict()["state"].items()):
        for name, value in state.items():
            moments.setdefault(name, []).append(value)
    for name, values in moments.items():
        named |= _grouped(f"optimizer/{name}", values)
    return named


def put_back(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Give model and optimiser the values that ``tensors_of`` took from their like.

    Raises
    ------
    CheckpointError
        Where the model has other tensors than the one that the state was taken from.
    """
    weights = model.state_dict()
    shapes = [p.shape for group in optimizer.param_groups for p in group["params"]]
    names = {name.split("/")[1] for name in tensors if name.startswith("optimizer/")}
    moments: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(shapes))}
    try:
        model.load_state_dict(
            dict(zip(weights, _parted(tensors, "model", [*weights.values()]), strict=True))
        )
        for name in sorted(names):
            like = [torch.empty(() if name == "step" else shape) for shape in shapes]
            for index, value in enumerate(_parted(tensors, f"optimizer/{name}", like)):
                moments[index][name] = value
    except (KeyError, RuntimeError) as err:
        raise CheckpointError(
            f"A state does not fit the model: {str(err).splitlines()[0]}. "
            "It was left by another version of Spectrum: go on with that one, or fit again."
        ) from err
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _grouped(owner: str, values: Iterable[Tensor]) -> dict[str, Tensor]:
    by_type: dict[str, list[Tensor]] = {}
    for value in values:
        by_type.setdefault(_type_of(value), []).append(value.detach().flatten())
    return {f"{owner}/{kind}": torch.cat(some).cpu() for kind, some in by_type.items()}


def _parted(tensors: Mapping[str, Tensor], owner: str, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut long tensors into those of which ``like`` has shapes and types, in its order."""
    parts = {}
    for kind in {_type_of(value) for value in like}:
        sizes = [value.numel() for value in like if _type_of(value) == kind]
        parts[kind] = iter(torch.split(tensors[f"{owner}/{kind}"], sizes))
    return [next(parts[_type_of(value)]).view(value.shape) for value in like]


def _type_of(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
