"""The recipe: which steps turn a run's BOLD image into slices, in which order.

Order of the steps, fixed: drop initial volumes, motion, slice timing, normalisation, grid, brain
mask; then smoothing; then confounds,
trend, high-pass and low-pass in one fit; then standardisation. The fit is one because filters
that follow each other bring back what an earlier one has removed (Lindquist et al. 2019, "Modular
preprocessing pipelines can reintroduce artifacts into fMRI data"). Volumes are never censored:
sequences are consecutive volumes and could not be told of the gaps. Not here: cutting sequences,
which happens when shards are read (``SequencesConfig``), and the steps themselves
(``spectrum.data.recipe``).
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from spectrum.config.frozen import FrozenConfig

__all__ = ["PreprocessingConfig"]

UNMASKED: Final = (
    "Unmasked recipe (preprocessing.brain_mask: false): the air around the head is part of the "
    "input, and its mean alone tells early from late runs in 83 % of the pairs of the four data "
    "sets. A score on it says nothing of the brain."
)
"""Counted over the 90 pairs of the target ``early_late``: air is brighter in the late run."""


class PreprocessingConfig(FrozenConfig):
    """One recipe; its canonical JSON is part of every fingerprint."""

    drop_initial_volumes: int = Field(default=0, ge=0, le=50)
    """Volumes dropped at the start of each run. 0: the four data sets come already trimmed."""

    motion_correction: bool = False
    """Find the head's rigid motion within the run and undo it; it also gives the six parameters
    that ``confounds`` regresses out. Needs three slices and more. Nothing is done to derivatives
    of fMRIPrep, which are corrected. Off: one more interpolation decides what it is worth."""

    slice_timing: Literal[
        "off",
        "sidecar",
        "ascending",
        "descending",
        "interleaved_ascending",
        "interleaved_ascending_even_first",
        "interleaved_descending",
    ] = "off"
    """When slices were read: as the sidecar's ``SliceTiming`` says, or in a stated order. Each
    slice's series is put to the middle of the volume. Off: the four data sets do not tell."""

    normalization: Literal["none", "mni152"] = "none"
    """``mni152``: an affine with twelve parameters to nilearn's template, and the template's mask
    as brain mask, the same for all runs. ``none``: brains are centred on the template only."""

    grid: Literal["native", "matrix", "common"] = "common"
    """Grid that a recipe ends on. ``native``: as scanned, all runs must share one shape.
    ``matrix``: the run's own field of view, divided into ``matrix`` voxels. ``common``:
    ``voxel_mm`` cubes over the extent of MNI152, centred on the run's brain."""

    matrix: tuple[int, int, int] | None = None
    """Voxels along X, Y and Z for ``grid: matrix``; None for the other grids."""

    voxel_mm: float = Field(default=8.0, ge=2.0, le=20.0)
    """Edge of a voxel of the common grid, millimetres; 3, 4 and 6 are usual. 8 keeps a search
    possible without a GPU."""

    brain_mask: bool = True
    """Set voxels outside the brain to zero. On: the air around the head tells early from late."""

    fwhm_mm: float = Field(default=6.0, ge=0.0, le=20.0)
    """Full width at half maximum of the Gaussian smoothing, millimetres; 0 smooths nothing."""

    confounds: Literal["none", "motion6", "motion24"] = "none"
    """Head motion to regress out. ``motion6``: three shifts and three turns. ``motion24``: these,
    their change from the volume before, and the squares of both twelve, as fMRIPrep and nilearn
    define 24 (after Friston et al. 1996, who square the values one volume back instead)."""

    global_signal: bool = False
    """Regress out the mean over the brain, from fMRIPrep's table. Off: it carries task signal."""

    tissue_signals: bool = False
    """Regress out the means of white matter and cerebrospinal fluid, from fMRIPrep's table."""

    compcor_components: int = Field(default=0, ge=0, le=50)
    """Components of fMRIPrep's anatomical CompCor to regress out (Behzadi et al. 2007), the first
    of its combined mask, or all where there are fewer; 0 takes none. fMRIPrep finds them after a
    high-pass, so one is needed."""

    detrend: bool = True
    """Remove each voxel's linear trend over the run."""

    temporal_filter: Literal["cosine", "butterworth"] = "cosine"
    """How frequencies are cut off. ``cosine``: slow cosines are regressors of the fit.
    ``butterworth``: of order 5, forwards and backwards, on signals and regressors alike."""

    high_pass_hz: float = Field(default=0.008, ge=0.0, le=0.1)
    """Cut-off of the high-pass, hertz; 0 passes everything. 0.008: 1/128 s, as in SPM."""

    low_pass_hz: float = Field(default=0.0, ge=0.0, le=1.0)
    """Cut-off of the low-pass, hertz; 0 passes everything. Only with ``butterworth``: fast cosines
    would take most degrees of freedom of a run, and nilearn knows none either."""

    standardization: Literal["none", "zscore", "percent", "volume"] = "zscore"
    """``zscore``: each voxel over time. ``percent``: percent signal change of each voxel.
    ``volume``: each volume over its voxels. ``none``: scanner units, scaled to fit float16."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be said wherever the recipe is described, one sentence or two each."""
        return () if self.brain_mask else (UNMASKED,)

    @property
    def reads_table(self) -> bool:
        """Whether it takes regressors that only a confounds table of fMRIPrep has."""
        return self.global_signal or self.tissue_signals or self.compcor_components > 0

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

    @model_validator(mode="after")
    def _template_has_the_common_grid(self) -> Self:
        if self.normalization != "none" and self.grid != "common":
            raise ValueError(
                f"preprocessing.normalization is {self.normalization} with preprocessing.grid: "
                f"{self.grid}. The template lies on grid: common; set that, or normalization: none"
            )
        return self

    @model_validator(mode="after")
    def _filter_can_be_built(self) -> Self:
        if self.low_pass_hz and self.temporal_filter == "cosine":
            raise ValueError(
                f"preprocessing.low_pass_hz is {self.low_pass_hz} with temporal_filter: cosine, "
                "which has no low-pass. Set temporal_filter: butterworth, or low_pass_hz: 0"
            )
        if self.low_pass_hz and self.low_pass_hz <= self.high_pass_hz:
            raise ValueError(
                f"preprocessing.low_pass_hz is {self.low_pass_hz} and high_pass_hz "
                f"{self.high_pass_hz}. Nothing passes; set low_pass_hz above high_pass_hz"
            )
        if self.temporal_filter == "butterworth" and not (self.low_pass_hz or self.high_pass_hz):
            raise ValueError(
                "preprocessing.temporal_filter is butterworth, and both of its cut-offs are 0. "
                "Set high_pass_hz or low_pass_hz, or temporal_filter: cosine"
            )
        return self

    @model_validator(mode="after")
    def _compcor_follows_a_high_pass(self) -> Self:
        if self.compcor_components and not self.high_pass_hz:
            raise ValueError(
                f"preprocessing.compcor_components is {self.compcor_components} with "
                "high_pass_hz: 0, but fMRIPrep finds them after a high-pass. "
                "Set high_pass_hz, 0.008 is usual"
            )
        return self
