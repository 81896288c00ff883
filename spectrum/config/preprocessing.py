"""The recipe: which steps turn a run's BOLD image into slices, in which order.

Order of the steps, fixed: drop initial volumes, grid, brain mask, smoothing, trend and high-pass
in one fit, standardisation. Not here: cutting sequences, which happens when shards are read
(``SequencesConfig``), and the steps themselves (``spectrum.data.recipe``).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from spectrum.config.frozen import FrozenConfig

__all__ = ["PreprocessingConfig"]


class PreprocessingConfig(FrozenConfig):
    """One recipe; its canonical JSON is part of every fingerprint."""

    drop_initial_volumes: int = Field(default=0, ge=0, le=50)
    """Volumes dropped at the start of each run. 0: the four data sets come already trimmed."""

    grid: Literal["native", "matrix", "common"] = "common"
    """Grid that a recipe ends on. ``native``: as scanned, all runs must share one shape.
    ``matrix``: the run's own field of view, divided into ``matrix`` voxels. ``common``:
    ``voxel_mm`` cubes over the extent of MNI152, centred on the run's brain."""

    matrix: tuple[int, int, int] | None = None
    """Voxels along X, Y and Z for ``grid: matrix``; None for the other grids."""

    voxel_mm: float = Field(default=8.0, ge=2.0, le=20.0)
    """Edge of a voxel of the common grid, millimetres. 8 keeps a search possible without a GPU."""

    brain_mask: bool = True
    """Set voxels outside the brain to zero. On: the air around the head tells early from late."""

    fwhm_mm: float = Field(default=6.0, ge=0.0, le=20.0)
    """Full width at half maximum of the Gaussian smoothing, millimetres; 0 smooths nothing."""

    detrend: bool = True
    """Remove each voxel's linear trend over the run."""

    high_pass_hz: float = Field(default=0.008, ge=0.0, le=0.1)
    """Cut-off of the cosine high-pass, hertz; 0 passes everything. 0.008: 1/128 s, as in SPM."""

    standardization: Literal["none", "zscore", "percent", "volume"] = "zscore"
    """``zscore``: each voxel over time. ``percent``: percent signal change of each voxel.
    ``volume``: each volume over its voxels. ``none``: scanner units, scaled to fit float16."""

    @model_validator(mode="after")
    def _matrix_belongs_to_its_grid(self) -> Self:
        if (self.grid == "matrix") != (self.matrix is not None):
            raise ValueError(
                f"preprocessing.matrix is {self.matrix} with preprocessing.grid: {self.grid}. "
                "Set matrix with grid: matrix, and only there"
            )
        if self.matrix is not None and min(self.matrix) < 1:
            raise ValueError(f"preprocessing.matrix is {self.matrix}; each side must be >= 1")
        return self
