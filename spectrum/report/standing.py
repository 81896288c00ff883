"""Figures of the result: the selected score among its references, subjects, confusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from spectrum.report.facts import Reference
from spectrum.report.theme import Theme, clean, new_figure

__all__ = ["draw_confusion", "draw_datasets", "draw_standing", "shade_table"]

NAMES = {
    "default": "default configuration",
    "parcels": "parcels, logistic",
    "glm": "GLM, linear SVM",
    "mlp": "parcels, network",
    "cnn": "3-D CNN",
    "majority": "majority class",
}


def draw_standing(
    theme: Theme, *, score: Mapping[str, Any], references: Sequence[Reference]
) -> Figure:
    """Draw the selected score and what it is read against, each with its interval."""
    selected = Reference("selected", score["value"], tuple(score["ci95"]), "")
    rows = (selected, *references)
    figure, axes = new_figure(0.55 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        _draw_row(axes, theme, row, place)
    floor = next((row.value for row in rows if row.name == "floor"), None)
    if floor is not None:
        axes.axvline(floor, color=theme.floor, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(rows)), [NAMES.get(row.name, row.name) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score; bars are 95 % intervals")
    clean(axes, theme, grid="x")
    axes.spines["left"].set_visible(False)
    return figure


def _draw_row(axes: Axes, theme: Theme, row: Reference, place: int) -> None:
    colour = {"selected": theme.best, "floor": theme.floor}.get(row.name, theme.muted)
    if row.ci95 is not None:
        axes.plot(row.ci95, (place, place), color=colour, linewidth=2.2, solid_capstyle="butt")
    marker = "D" if row.ci95 is None else "o"
    axes.plot(row.value, place, marker=marker, markersize=6, color=colour)
    axes.annotate(
        f"{row.value:.3f}",
        (row.value, place),
        (0, 6),
        textcoords="offset points",
        ha="center",
        color=colour,
        fontsize=8,
        bbox={"facecolor": theme.ground, "edgecolor": "none", "pad": 0.8},
    )


def draw_datasets(
    theme: Theme, *, scores: Mapping[str, Mapping[str, float]], floor: float | None
) -> Figure:
    """Draw the score of every subject of the best trial, one column a data set, with the mean."""
    figure, axes = new_figure(2.6)
    for place, by_subject in enumerate(scores.values()):
        values = np.array(sorted(by_subject.values()))
        axes.scatter(
            place + _spread(values), values, s=20, color=theme.best, alpha=0.55, linewidths=0
        )
        axes.plot(
            (place - 0.28, place + 0.28), [values.mean()] * 2, color=theme.ink, linewidth=1.6
        )
    if floor is not None:
        axes.axhline(floor, color=theme.floor, linestyle=(0, (4, 3)), linewidth=1)
        axes.annotate(
            "floor",
            (1, floor),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color=theme.floor,
        )
    axes.set_xticks(range(len(scores)), [f"{n}\n{len(v)} subjects" for n, v in scores.items()])
    axes.set_xlim(-0.6, len(scores) - 0.4)
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("score of a subject")
    clean(axes, theme)
    return figure


def _spread(
    values: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return offsets that set equal values side by side, centred."""
    offsets = np.zeros(values.size)
    for value in np.unique(values):
        same = np.flatnonzero(values == value)
        step = min(0.06, 0.5 / max(1, same.size))
        offsets[same] = (np.arange(same.size) - (same.size - 1) / 2) * step
    return offsets


def draw_confusion(
    theme: Theme, *, classes: Sequence[str], counts: Sequence[Sequence[int]]
) -> Figure:
    """Draw the confusion table: counts as numbers, the share of each true class as shade."""
    table = np.array(counts, dtype=float)
    figure, axes = new_figure(0.9 + 0.5 * len(classes))
    shade_table(axes, theme, table)
    # At the left it is seen on a narrow screen without being moved.
    axes.set_anchor("W")
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    return figure


def shade_table(axes: Axes, theme: Theme, table: NDArray[np.float64]) -> None:
    """Draw the counts of a confusion table, (K, K), shaded by the share of the true class."""
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    num_rows, num_columns = table.shape
    axes.set(xlim=(-0.5, num_columns - 0.5), ylim=(num_rows - 0.5, -0.5), aspect="equal")
    for (row, column), count in np.ndenumerate(table):
        corner, alpha = (column - 0.5, row - 0.5), float(share[row, column])
        axes.add_patch(
            Rectangle(corner, 1, 1, facecolor=theme.best, alpha=alpha, linewidth=0, zorder=0)
        )
        ink = theme.ground if share[row, column] > 0.5 else theme.ink
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=ink)
    axes.tick_params(length=0)
    axes.spines[:].set_color(theme.faint)
