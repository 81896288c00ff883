"""Labels that go with a score wherever it stands, because of what its recipe leaves in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from spectrum.config import PreprocessingConfig

__all__ = ["UNMASKED_LABEL", "is_unmasked", "recipe_warnings"]

UNMASKED_LABEL: Final = "unmasked"
"""Stands beside every score of a recipe whose input holds the air around the head."""


def is_unmasked(config: Mapping[str, Any]) -> bool:
    """Say whether a trial's configuration, as JSON, leaves voxels outside the brain in."""
    recipe = config.get("preprocessing") or {}
    return not recipe.get("brain_mask", PreprocessingConfig().brain_mask)


def recipe_warnings(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what must be said of a recipe; of one from another version, what is known of it."""
    try:
        recipe = PreprocessingConfig.model_validate(dict(config.get("preprocessing") or {}))
    except ValidationError:
        recipe = PreprocessingConfig(brain_mask=not is_unmasked(config))
    return recipe.warnings
