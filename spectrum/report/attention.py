"""The figure of attention maps, with what their checks said; it is drawn from their folder alone.

On MNI152 where the maps lie there, else on the mean image of a run, or on the brain's outline
where no mean is kept. Not here: how maps are made and checked (``spectrum.search.explaining``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

from spectrum.owners import write_whole
from spectrum.report.theme import LIGHT, Theme, new_canvas, render
from spectrum.search.explaining import CHECKS_NAME, map_name
from spectrum.search.json_lines import read_json

__all__ = ["AttentionFacts", "attention_facts", "write_attention_figure"]

NUM_CUTS: Final = 7
MAX_ROWS: Final = 8
"""Maps drawn; more classes are in the folder."""

LABELS: Final = {"rollout": "attention rollout", "gradients": "integrated gradients"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionFacts:
    """What a page shows of attention maps.

    ``png`` and ``svg`` are the figure's files, ``sentences`` what the checks said, one a method;
    ``space`` what the millimetres mean; ``checks`` all numbers.
    """

    png: Path
    svg: Path
    sentences: tuple[str, ...]
    space: str
    peaks: Path
    checks: Mapping[str, Any]


def attention_facts(folder: Path) -> AttentionFacts | None:
    """Return what ``spectrum attention`` left in a folder; None where it left nothing whole."""
    png, svg, checks = folder / "attention.png", folder / "attention.svg", folder / CHECKS_NAME
    if not all(path.is_file() for path in (png, svg, checks)):
        return None
    told = read_json(checks)
    return AttentionFacts(
        png=png,
        svg=svg,
        sentences=tuple(check_sentence(name, found) for name, found in told["methods"].items()),
        space=told["space_told"],
        peaks=folder / "peaks.tsv",
        checks=told,
    )


def write_attention_figure(folder: Path) -> tuple[Path, Path]:
    """Draw the maps of a folder and their checks; return the PNG and the SVG file."""
    told = read_json(folder / CHECKS_NAME)
    png, svg = render(partial(_draw, folder=folder, told=told), LIGHT, "png", "svg")
    paths = folder / "attention.png", folder / "attention.svg"
    for path, content in zip(paths, (png, svg), strict=True):
        write_whole(path, content)
    return paths


def check_sentence(method: str, checks: Mapping[str, Any]) -> str:
    """Return what the checks of a method said, as one line."""
    faithful, fresh = checks["faithfulness"], checks["randomised"]
    parts = [
        f"deletion {faithful['deletion']:.2f} (random order {faithful['deletion_random']:.2f}), "
        f"insertion {faithful['insertion']:.2f} ({faithful['insertion_random']:.2f}): "
        f"{_verdict(faithful)}",
        f"fresh weights |rho| {fresh['rank_correlation']:.2f}: {_verdict(fresh)}",
    ]
    for name, found in (checks["region"] or {}).items():
        of_fresh = np.mean(found["auc_fresh"]) if found["auc_fresh"] else float("nan")
        parts.append(f"region of {name}: AUC {found['auc']:.2f} (fresh weights {of_fresh:.2f})")
    return f"{LABELS[method]}: " + "; ".join(parts)


def _verdict(check: Mapping[str, Any]) -> str:
    return "passed" if check["passed"] else "FAILED"


def _draw(theme: Theme, *, folder: Path, told: Mapping[str, Any]) -> Figure:
    from nilearn.plotting import plot_stat_map

    rows = [(m, name) for name in told["classes"] for m in told["methods"]][:MAX_ROWS]
    sentences = [check_sentence(name, found) for name, found in told["methods"].items()]
    foot = 0.2 + 0.3 * len(sentences)
    figure = new_canvas(1.25 * len(rows) + foot)
    height = figure.get_figheight()
    background, brain = _background(folder, told), nib.load(folder / "brain.nii.gz")
    cuts = _cuts(brain)
    for place, (method, name) in enumerate(rows):
        bottom = (height - 1.25 * (place + 1)) / height
        axes = figure.add_axes((0.0, bottom, 1.0, 1.0 / height))
        display = plot_stat_map(
            _scaled(nib.load(folder / "maps" / map_name(method, name)), brain),
            bg_img=background,
            display_mode="z",
            cut_coords=cuts,
            axes=axes,
            figure=figure,
            threshold=0.2,
            vmin=-1.0,
            vmax=1.0,
            black_bg=False,
            annotate=False,
        )
        display.annotate(size=7)
        _mark_ends(figure)
        title = f"{name}, {LABELS[method]} (share of the largest)"
        figure.text(0.01, bottom + 1.04 / height, title, color=theme.ink, fontsize=8.5)
    for place, sentence in enumerate(sentences):
        y = (foot - 0.1 - 0.3 * place) / height
        figure.text(0.01, y, sentence, color=theme.muted, fontsize=7.5, va="top", wrap=True)
    return figure


def _mark_ends(figure: Figure) -> None:
    """Mark the ends and the middle of colour bars alone; nilearn's marks stand on each other."""
    for axes in figure.axes:
        if axes.get_ylim() == (-1.0, 1.0):
            axes.set_yticks([-1.0, 0.0, 1.0], ["-1", "0", "1"])


def _scaled(image: Any, brain: Any) -> Any:
    """Return a map over its largest magnitude inside the brain."""
    values = np.where(np.asarray(brain.dataobj) > 0, np.asarray(image.dataobj), 0.0)
    largest = float(np.abs(values).max())
    return nib.Nifti1Image(
        (values / largest if largest else values).astype(np.float32), image.affine
    )


def _background(folder: Path, told: Mapping[str, Any]) -> Any:
    if told["space"] == "MNI152":
        from nilearn.datasets import load_mni152_template

        return load_mni152_template(resolution=2)
    mean = folder / "mean.nii.gz"
    return nib.load(mean if mean.is_file() else folder / "brain.nii.gz")


def _cuts(brain: Any) -> list[float]:
    """Return the heights of slices from the lowest to the highest of the brain, millimetres."""
    inside_XYZ = np.asarray(brain.dataobj) > 0
    levels = np.flatnonzero(inside_XYZ.any(axis=(0, 1)))
    chosen = np.unique(np.linspace(levels[0], levels[-1], NUM_CUTS + 2)[1:-1].round().astype(int))
    affine = brain.affine
    return [float(affine[2, 2] * level + affine[2, 3]) for level in chosen]
