"""What is said of a run beside its figure: its numbers, and what is wrong with it.

Pure, from shard manifests. Numbers mark what to look at; nothing here refuses a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from spectrum.config import PreprocessingConfig
from spectrum.data.manifest import ShardRun

__all__ = [
    "FD_LIMIT_MM",
    "QUALITY",
    "QualityNumber",
    "format_number",
    "outliers",
    "recipe_text",
    "run_problems",
    "worst_first",
]

FD_LIMIT_MM: Final = 0.5
"""A volume that moved more from the one before is marked (Power et al. 2012)."""

OUTLIER_SCORE: Final = 3.5
"""Modified z-score above which a value is an outlier (Iglewicz and Hoaglin 1993)."""

MAD_OF_NORMAL: Final = 0.6745
"""Median absolute deviation of a normal distribution with standard deviation 1."""

LEAST_RUNS: Final = 5
"""With fewer runs of a data set nothing can be said to stand out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityNumber:
    """A quality number as it is shown; ``bad_side`` is where outliers are told: 1 high, -1 low."""

    name: str
    label: str
    unit: str = ""
    digits: int = 2
    bad_side: int = 0


QUALITY: Final = (
    QualityNumber(name="fd_mean", label="mean FD", unit="mm", bad_side=1),
    QualityNumber(name="dvars_mean", label="mean DVARS", unit="%", bad_side=1),
    QualityNumber(name="tsnr", label="tSNR", digits=1, bad_side=-1),
    QualityNumber(name="efc", label="entropy focus", bad_side=1),
    QualityNumber(name="gsr", label="ghost ratio", digits=3, bad_side=1),
    QualityNumber(name="fg_mean", label="head mean", digits=0),
    QualityNumber(name="fg_sd", label="head SD", digits=0),
    QualityNumber(name="bg_mean", label="air mean", digits=1),
    QualityNumber(name="bg_sd", label="air SD", digits=1),
    QualityNumber(name="template_dice", label="template overlap"),
    QualityNumber(name="template_coverage", label="template in view"),
)
"""In the order in which they are shown; definitions are in ``spectrum.data.quality``."""


def format_number(number: QualityNumber, value: float | None) -> str:
    """Return a quality number with its unit; a dash where it is not known."""
    if value is None:
        return "-"
    return f"{value:.{number.digits}f} {number.unit}".strip()


def run_problems(run: ShardRun, recipe: PreprocessingConfig) -> tuple[str, ...]:
    """Return what is odd about a run by itself, a sentence each; the recipe's label first."""
    unmasked = "Unmasked recipe: the air around the head is part of the input."
    problems = [] if recipe.brain_mask else [unmasked]
    problems += [finding.message for finding in run.findings]
    fd = run.quality.get("fd_mean")
    if fd is not None and fd > FD_LIMIT_MM:
        problems.append(f"Mean framewise displacement is {fd:.2f} mm, above {FD_LIMIT_MM} mm.")
    if run.person:
        problems.append(f"The same person is also named {run.person}.")
    return tuple(problems)


def outliers(runs: Sequence[ShardRun]) -> dict[str, tuple[str, ...]]:
    """Return in what a run stands out among those of its data set, by the name of the run.

    A number stands out on its bad side where its modified z-score is above 3.5; of a data set
    with fewer than five runs nothing is said.
    """
    of_dataset: defaultdict[str, list[ShardRun]] = defaultdict(list)
    for run in runs:
        of_dataset[run.dataset].append(run)
    told: defaultdict[str, list[str]] = defaultdict(list)
    for dataset, members in of_dataset.items():
        for number in QUALITY:
            if number.bad_side:
                _tell_outliers(number, dataset, members, told)
    return {name: tuple(sentences) for name, sentences in told.items()}


def _tell_outliers(
    number: QualityNumber,
    dataset: str,
    runs: Sequence[ShardRun],
    told: Mapping[str, list[str]],
) -> None:
    known = [(run, value) for run in runs if (value := run.quality.get(number.name)) is not None]
    if len(known) < LEAST_RUNS:
        return
    values = np.array([value for _, value in known])
    median = float(np.median(values))
    spread = float(np.median(np.abs(values - median))) / MAD_OF_NORMAL
    for run, value in known:
        if spread > 0 and number.bad_side * (value - median) / spread > OUTLIER_SCORE:
            told[str(run.key)].append(
                f"{number.label[0].upper()}{number.label[1:]} {format_number(number, value)} "
                f"stands out in {dataset}, whose median is {format_number(number, median)}."
            )


def worst_first(runs: Sequence[ShardRun], problems: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of runs: most problems first, then most motion, then lowest tSNR.

    Where framewise displacement is not known, DVARS says how much a run moved.
    """

    def place(run: ShardRun) -> tuple[float, float, float, float, str]:
        told = {name: run.quality.get(name) for name in ("fd_mean", "dvars_mean", "tsnr")}
        fd, dvars, tsnr = (0.0 if value is None else value for value in told.values())
        return (-len(problems.get(str(run.key), ())), -fd, -dvars, tsnr, str(run.key))

    return [str(run.key) for run in sorted(runs, key=place)]


def recipe_text(recipe: PreprocessingConfig) -> str:
    """Return the steps of a recipe as one line of words, in their order."""
    grid = {
        "native": "native grid",
        "matrix": " x ".join(map(str, recipe.matrix or ())) + " voxels",
        "common": f"{recipe.voxel_mm:g} mm grid",
    }[recipe.grid]
    is_on: dict[str, bool] = {
        f"first {recipe.drop_initial_volumes} volumes dropped": recipe.drop_initial_volumes > 0,
        "motion corrected": recipe.motion_correction,
        f"slice timing {recipe.slice_timing}": recipe.slice_timing != "off",
        "MNI152": recipe.normalization == "mni152",
        grid: True,
        "brain mask": recipe.brain_mask,
        "no mask": not recipe.brain_mask,
        f"smoothed {recipe.fwhm_mm:g} mm": recipe.fwhm_mm > 0,
        f"confounds {recipe.confounds}": recipe.confounds != "none",
        "global signal": recipe.global_signal,
        "tissue signals": recipe.tissue_signals,
        f"CompCor {recipe.compcor_components}": recipe.compcor_components > 0,
        "detrended": recipe.detrend,
        f"high-pass {recipe.high_pass_hz:g} Hz": recipe.high_pass_hz > 0,
        f"low-pass {recipe.low_pass_hz:g} Hz": recipe.low_pass_hz > 0,
        f"standardised: {recipe.standardization}": recipe.standardization != "none",
    }
    return ", ".join(name for name, is_told in is_on.items() if is_told)
