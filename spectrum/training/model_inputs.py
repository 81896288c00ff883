"""What a model is told of a batch besides its voxels: where slices lie, and when volumes come.

A model that embeds positions by index is told nothing. Sequences are cut whole, so no mask is
among the inputs: padding a short run would tell its length. Not here: how positions are embedded
(``spectrum.model.positions``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from spectrum.config import ModelConfig
from spectrum.data.places import slice_centres_mm
from spectrum.errors import ConfigError
from spectrum.training.feeds import Feed, Sequences

__all__ = ["ModelInputs"]

SLICES_MM = "slice_mm_BS"
VOLUMES_S = "volume_s_BT"


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """Positions of every run by the name of the model's argument, on the device.

    Each is (number of runs, S or T); ``run_of_sequence`` says which row a sequence has.
    """

    run_of_sequence: Tensor | None = None
    positions: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_feed(cls, feed: Feed, config: ModelConfig) -> ModelInputs:
        """Return what a model of some configuration must be told of the sequences of a feed.

        Raises
        ------
        ConfigError
            Where the data does not tell millimetres or seconds.
        """
        positions: dict[str, Tensor] = {}
        if config.slice_position == "mm":
            positions[SLICES_MM] = _slices_mm(feed.source).to(feed.device)
        if config.temporal_position == "seconds":
            positions[VOLUMES_S] = _volumes_s(feed.source).to(feed.device)
        if not positions:
            return cls()
        runs = torch.from_numpy(feed.source.table.run_of_sequence).to(feed.device)
        return cls(run_of_sequence=runs, positions=positions)

    def of(self, sequences: Tensor) -> dict[str, Tensor]:
        """Return the arguments for some sequences (B,), indices on the device."""
        if self.run_of_sequence is None:
            return {}
        runs = self.run_of_sequence[sequences]
        return {name: positions[runs] for name, positions in self.positions.items()}


def _slices_mm(source: Sequences) -> Tensor:
    steps_mm = source.table.slice_step_mm_of_run
    if not steps_mm:
        raise _unknown("model.slice_position is mm", "how far apart slices lie")
    centres = torch.from_numpy(slice_centres_mm(source.volume_shape[0], 1.0)).float()
    return torch.tensor(steps_mm, dtype=torch.float32)[:, None] * centres


def _volumes_s(source: Sequences) -> Tensor:
    tr_s = source.table.tr_s_of_run
    if not tr_s:
        raise _unknown("model.temporal_position is seconds", "its repetition times")
    offsets = torch.from_numpy(source.table.offsets).float()
    return torch.tensor(tr_s, dtype=torch.float32)[:, None] * offsets


def _unknown(setting: str, what: str) -> ConfigError:
    return ConfigError(
        f"{setting}, but this data does not tell {what}. Read it from a shard set, or set the "
        "position to index."
    )
