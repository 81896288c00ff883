"""Figures of the search: how much each parameter matters, and the score against each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from spectrum.report.facts import format_value
from spectrum.report.theme import Theme, clean, new_figure

__all__ = ["draw_importance", "draw_slices"]

COLUMNS = 3
MAX_SLICES = 12
"""Parameters drawn, the most important first; more are unreadable on one page."""

MAX_POINTS = 150
"""Trials of a panel above which its points become pixels inside the SVG, which stays small."""

Lines = Sequence[Mapping[str, Any]]


def draw_importance(theme: Theme, *, by_method: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the share of each parameter by each method, ordered by the first method."""
    first = next(iter(by_method.values()))
    paths = dict.fromkeys(name for shares in by_method.values() for name in shares)
    ordered = sorted(paths, key=lambda name: (-first.get(name, 0.0), name))
    figure, axes = new_figure(0.8 + (0.14 + 0.15 * len(by_method)) * len(ordered))
    height = 0.8 / len(by_method)
    for row, (method, shares) in enumerate(by_method.items()):
        places = [at + (row - (len(by_method) - 1) / 2) * height for at in range(len(ordered))]
        values = [shares.get(name, 0.0) for name in ordered]
        axes.barh(places, values, color=theme.cycle[row], height=height * 0.9, label=method)
        for name, value, place in zip(ordered, values, places, strict=True):
            told = f"{value:.2f}" if name in shares else "not asked"
            axes.annotate(
                told, (value, place), (4, 0), textcoords="offset points", va="center", fontsize=7
            )
    axes.set_yticks(range(len(ordered)), ordered)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(
        0, max(v for shares in by_method.values() for v in (*shares.values(), 0.01)) * 1.12
    )
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("importance, sums to 1 within a method")
    figure.legend(loc="outside upper left", ncols=len(by_method))
    clean(axes, theme, grid="x")
    return figure


def draw_slices(
    theme: Theme,
    *,
    lines: Lines,
    paths: Sequence[str],
    logarithmic: frozenset[str],
    floor: float | None,
) -> Figure:
    """Draw the score of each trial against each parameter; trials stopped early are hollow."""
    shown = paths[:MAX_SLICES]
    rows = math.ceil(len(shown) / COLUMNS)
    figure, grid = new_figure(2.1 * rows, rows=rows, columns=COLUMNS, sharey=True, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(shown):
            axes.set_visible(False)
            continue
        _draw_slice(axes, theme, lines, shown[place], shown[place] in logarithmic)
        if floor is not None:
            axes.axhline(floor, color=theme.floor, linestyle=(0, (4, 3)), linewidth=0.9, zorder=1)
        if place % COLUMNS == 0:
            axes.set_ylabel("score")
    return figure


def _draw_slice(axes: Axes, theme: Theme, lines: Lines, path: str, is_logarithmic: bool) -> None:
    found = [
        (line["params"][path], line["score"]["value"], line["state"] == "complete")
        for line in lines
        if path in line["params"] and (line.get("score") or {}).get("value") is not None
    ]
    names = _categories([value for value, _, _ in found])
    for kind, fill, edge in ((False, "none", theme.muted), (True, theme.best, theme.best)):
        rows = [(value, score) for value, score, is_complete in found if is_complete is kind]
        at = [names.index(format_value(value)) if names else value for value, _ in rows]
        scores = [score for _, score in rows]
        axes.scatter(
            at,
            scores,
            s=22 if len(found) <= MAX_POINTS else 8,
            facecolors=fill,
            edgecolors=edge,
            linewidths=0.9,
            zorder=2,
            rasterized=len(found) > MAX_POINTS,
        )
    if names:
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.6, len(names) - 0.4)
    elif is_logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(path, fontsize=7.5)
    clean(axes, theme)


def _categories(values: Sequence[Any]) -> list[str]:
    """Return the values as names in order where they are no numbers, nothing where they are."""
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return [] if are_numbers else sorted({format_value(value) for value in values})
