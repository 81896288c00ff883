"""Sizes and recipes in words, the same wherever they are told.

Sizes are in units of 1024 (GiB, MiB, KiB), as ``study.disk_gib`` and every other setting counts.
"""

from __future__ import annotations

from typing import Final

from spectrum.config import PreprocessingConfig

__all__ = ["GIB", "recipe_words", "size_text"]

GIB: Final = 1024**3
MIB: Final = 1024**2


def recipe_words(recipe: PreprocessingConfig) -> str:
    """Return what differs from the default recipe, in short words.

    Examples
    --------
    >>> recipe_words(PreprocessingConfig(fwhm_mm=0.0, detrend=False))
    'fwhm_mm=0.0, detrend=False'
    """
    default = PreprocessingConfig().model_dump(mode="json")
    values = recipe.model_dump(mode="json")
    changed = [f"{name}={value}" for name, value in values.items() if value != default[name]]
    return ", ".join(changed) or "default"


def size_text(num_bytes: float) -> str:
    """Return a size as people write it.

    Examples
    --------
    >>> size_text(5 * 1024**3), size_text(300 * 1024**2), size_text(5000)
    ('5.00 GiB', '300 MiB', '5 KiB')
    """
    if num_bytes >= GIB:
        return f"{num_bytes / GIB:.2f} GiB"
    if num_bytes >= MIB:
        return f"{num_bytes / MIB:.0f} MiB"
    return f"{num_bytes / 1024:.0f} KiB"
