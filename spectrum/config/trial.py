"""One point that can be trained: target, folds, recipe, sequences, model, optimiser, seed."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from spectrum.config.data import DataConfig
from spectrum.config.frozen import FrozenConfig
from spectrum.config.model import ModelConfig
from spectrum.config.preprocessing import PreprocessingConfig
from spectrum.config.training import OptimizerConfig, TrainingConfig

__all__ = ["FoldsConfig", "SequencesConfig", "TrialConfig", "canonical_json", "fingerprint"]


class FoldsConfig(FrozenConfig):
    """Which runs are held out together. Groups are (data set, subject)."""

    scheme: Literal[
        "leave-one-dataset-out",
        "leave-one-subject-out",
        "grouped-k-fold",
        "leave-one-run-out",
    ] = "leave-one-dataset-out"
    """``leave-one-run-out`` holds out the runs of one number within each subject; the others never
    part a subject."""

    num_folds: int = Field(default=5, ge=2, le=1000)
    """Folds of ``grouped-k-fold``; the other schemes count their own."""

    seed: int = Field(default=0, ge=0)
    """Seed of the draw of ``grouped-k-fold`` and of the monitor groups."""


class SequencesConfig(FrozenConfig):
    """How the volumes of a run become the model's inputs, when shards are read."""

    num_volumes: int = Field(default=8, ge=1, le=1024)
    """Volumes T in one sequence."""

    stride: int = Field(default=8, ge=1, le=1024)
    """Volumes of the run between the starts of two sequences of a run or an event, whatever the
    decimation."""

    decimation: int = Field(default=1, ge=1, le=64)
    """Every n-th volume of the run is in a sequence: T volumes span (T - 1) n + 1 volumes of the
    run, and lie n repetition times apart. Volumes between are left out, not averaged. 1 takes
    consecutive volumes."""

    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    """Plane of a slice: axial slices are stacked along Z, coronal along Y, sagittal along X."""

    @property
    def span(self) -> int:
        """Volumes of the run from the first to the last of a sequence, both included."""
        return (self.num_volumes - 1) * self.decimation + 1


class TrialConfig(FrozenConfig):
    """All that decides a trial's numbers, besides the data."""

    target: str = "early_late"
    """Name of a shipped target, or the path of a target file."""

    data: DataConfig = DataConfig()
    """What counts where BIDS trees leave a choice."""

    folds: FoldsConfig = FoldsConfig()
    """Which runs are held out together."""

    preprocessing: PreprocessingConfig = PreprocessingConfig()
    """The recipe from BOLD images to shards."""

    sequences: SequencesConfig = SequencesConfig()
    """How shards are cut into the model's inputs."""

    model: ModelConfig = ModelConfig()
    """Every dimension of the slice ViT."""

    optimizer: OptimizerConfig = OptimizerConfig()
    """AdamW and its schedule."""

    training: TrainingConfig = TrainingConfig()
    """Epochs, batches, loss, precision and workers."""

    seed: int = Field(default=0, ge=0)
    """Seed of weights, order and augmentation."""

    @model_validator(mode="after")
    def _harmonises_scanner_units(self) -> Self:
        if self.training.harmonisation == "none":
            return self
        recipe = self.preprocessing
        if recipe.standardization != "none":
            raise ValueError(
                f"training.harmonisation is {self.training.harmonisation} with "
                f"preprocessing.standardization: {recipe.standardization}, which leaves no "
                "scanner unit to harmonise. Set preprocessing.standardization: none, or "
                "training.harmonisation: none"
            )
        if not recipe.brain_mask:
            raise ValueError(
                f"training.harmonisation is {self.training.harmonisation} with "
                "preprocessing.brain_mask: false, where air would decide the scale. "
                "Set preprocessing.brain_mask: true, or training.harmonisation: none"
            )
        return self

    @model_validator(mode="after")
    def _hides_no_lone_volume(self) -> Self:
        fraction = self.training.temporal_mask_fraction
        if fraction and self.sequences.num_volumes == 1:
            raise ValueError(
                f"training.temporal_mask_fraction is {fraction} with sequences.num_volumes: 1, "
                "where nothing can be hidden. Set it to 0, or take longer sequences"
            )
        return self

    @model_validator(mode="after")
    def _images_use_whole_sequences(self) -> Self:
        num_volumes, volumes = self.sequences.num_volumes, self.model.volumes_per_image
        if num_volumes % volumes:
            raise ValueError(
                f"sequences.num_volumes is {num_volumes} and model.volumes_per_image {volumes}; "
                "a sequence must be a whole number of images"
            )
        return self


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no blanks, the same for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of a value, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
