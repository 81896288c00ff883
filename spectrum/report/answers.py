"""Figures of what the selected trial answers: ROC, calibration, confusion data set by data set.

Not here: the arithmetic (``spectrum.scores``), and the pooled confusion table (``standing``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrum.report.standing import shade_table
from spectrum.report.theme import Theme, clean, new_figure
from spectrum.scores.curves import CalibrationBin, RocCurve

__all__ = ["draw_calibration", "draw_confusions", "draw_roc"]

COLUMNS: Final = 4
"""Confusion tables side by side."""


def draw_roc(theme: Theme, *, curves: Mapping[str, RocCurve], first: str) -> Figure:
    """Draw ROC curves by name; ``first`` is drawn strong, the diagonal is guessing."""
    figure, (axes, room) = new_figure(3.4, columns=2, width_ratios=(3, 2))
    room.set_axis_off()
    axes.plot((0, 1), (0, 1), color=theme.chance, linestyle=(0, (1, 2)), linewidth=1)
    others = [name for name in curves if name != first]
    for place, name in enumerate(others):
        colour = theme.cycle[(place + 1) % len(theme.cycle)]
        _draw_roc(axes, curves[name], name, colour, width=1.1)
    if first in curves:
        _draw_roc(axes, curves[first], first, theme.best, width=2.4)
    axes.set_xlabel("share of the others taken for it")
    axes.set_ylabel("share of the class found")
    axes.set_aspect("equal")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    clean(axes, theme)
    handles, labels = axes.get_legend_handles_labels()
    room.legend(handles[::-1], labels[::-1], loc="upper left", title="area under the curve")
    return figure


def _draw_roc(axes: Axes, curve: RocCurve, name: str, colour: str, *, width: float) -> None:
    axes.plot(
        curve.false_positive,
        curve.true_positive,
        color=colour,
        linewidth=width,
        label=f"{curve.auc:.3f}  {name} ({curve.num_class} of {curve.num_class + curve.num_rest})",
    )


def draw_calibration(theme: Theme, *, bins: Sequence[CalibrationBin], error: float) -> Figure:
    """Draw how often answers of about one confidence are right, with the number of each."""
    figure, (axes, room) = new_figure(3.1, columns=2, width_ratios=(3, 2))
    room.set_axis_off()
    axes.plot((0, 1), (0, 1), color=theme.chance, linestyle=(0, (1, 2)), linewidth=1)
    most = max(one.num_units for one in bins)
    for one in bins:
        axes.plot((one.confidence,) * 2, one.ci95, color=theme.best, linewidth=1.2, alpha=0.6)
        size = 12 + 70 * one.num_units / most
        axes.scatter(one.confidence, one.accuracy, s=size, color=theme.best, zorder=3)
    axes.set_xlim(min(0.48, bins[0].confidence - 0.05), 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share of answers that are right")
    clean(axes, theme)
    counts = "\n".join(f"{one.confidence:.2f}: {one.num_units}" for one in bins)
    room.text(
        0, 1, f"calibration error {error:.3f}\n\nunits by probability\n{counts}", va="top",
        transform=room.transAxes,
    )  # fmt: skip
    return figure


def draw_confusions(
    theme: Theme, *, classes: Sequence[str], counts: Mapping[str, Sequence[Sequence[int]]]
) -> Figure:
    """Draw a small confusion table of each data set."""
    columns = min(COLUMNS, len(counts))
    rows = math.ceil(len(counts) / columns)
    side = 1.5 + 0.12 * len(classes)
    figure, grid = new_figure(side * rows, rows=rows, columns=columns, squeeze=False)
    for axes in grid.flat[len(counts) :]:
        axes.set_visible(False)
    for place, (axes, (name, table)) in enumerate(zip(grid.flat, counts.items(), strict=False)):
        shade_table(axes, theme, np.array(table, dtype=float))
        axes.set_title(name, fontsize=8)
        axes.set_xticks(range(len(classes)), classes, fontsize=7, rotation=_turn(classes))
        axes.set_yticks(range(len(classes)), classes if place % columns == 0 else [], fontsize=7)
    return figure


def _turn(classes: Sequence[str]) -> int:
    return 90 if len(classes) > 3 or max(map(len, classes)) > 8 else 0
