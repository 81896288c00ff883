"""The joint study that the benchmark ``study`` gives to all: trees, space, and how it is told.

Leave-one-dataset-out over four simulated data sets, three recipes, a small slice ViT.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.search.space import SearchSpace, space_from_mapping

__all__ = ["Setting", "space_of", "write_trees"]

UNPRUNED: dict[str, Any] = {"rule": "none"}
AS_SHIPPED: dict[str, Any] = {"rule": "halving", "min_epochs": 2, "reduction": 2}
"""Successive halving as ``search_spaces/quickstart.yaml`` has it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Trees and epochs of the study."""

    roots: tuple[Path, ...]
    num_epochs: int


def write_trees(folder: Path, num_subjects: int) -> tuple[Path, ...]:
    """Write the four data sets with a planted effect."""
    config = SimulationConfig(truth="effect", num_subjects=num_subjects, effect_percent=1.0)
    return simulate(folder, config)


def space_of(setting: Setting, *, is_pruned: bool) -> SearchSpace:
    """Three recipes by four parameters of model and optimiser."""
    return space_from_mapping(
        {
            "name": "study",
            "base": {
                "target": "early_late",
                "folds": {"scheme": "leave-one-dataset-out"},
                "preprocessing": {"voxel_mm": 12.0, "fwhm_mm": 6.0},
                "sequences": {"num_volumes": 4, "stride": 16},
                "model": {
                    "embed_dim": 32,
                    "depth": 1,
                    "num_heads": 4,
                    "attention_heads": 4,
                    "patch_size": 6,
                },
                "training": {"num_epochs": setting.num_epochs},
            },
            "study": {
                "seed": 0,
                "startup_trials": 5,
                "pruner": AS_SHIPPED if is_pruned else UNPRUNED,
                "rerun": {"top": 0},
            },
            "parameters": {
                "preprocessing.fwhm_mm": {"choice": [0.0, 6.0, 10.0]},
                "model.embed_dim": {"choice": [16, 32]},
                "model.depth": {"int": [1, 2]},
                "model.temporal_depth": {"int": [0, 1]},
                "optimizer.lr": {"log_uniform": [5e-4, 1e-2]},
            },
        }
    )
