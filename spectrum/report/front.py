"""The figure of a study of several objectives: its trials, and the Pareto front among them.

Not here: which trials are on the front (``spectrum.search.objectives``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectrum.report.theme import Theme, clean, new_figure

__all__ = ["draw_front"]

MAX_NAMED = 12
"""Trials of the front above which they are not numbered."""

Points = Mapping[int, Mapping[str, float]]


def draw_front(theme: Theme, *, points: Points, front: Sequence[int]) -> Figure:
    """Draw complete trials by the first objective against each other one, the front joined.

    Parameters
    ----------
    points : objectives of each complete trial by name, at least two
    front : numbers of the trials that no other one beats
        With more than two objectives, a panel may show trials of it that others seem to beat.
    """
    first, *others = next(iter(points.values()))
    figure, grid = new_figure(3.0, columns=len(others), sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, others, strict=True):
        _draw_pair(axes, theme, points, front, (name, first))
    grid.flat[0].set_ylabel(first)
    return figure


def _draw_pair(
    axes: Axes, theme: Theme, points: Points, front: Sequence[int], names: tuple[str, str]
) -> None:
    x, y = names
    rest = [point for number, point in points.items() if number not in front]
    dots: dict[str, Any] = {"marker": "o", "markersize": 3.5, "color": theme.faint}
    axes.plot([p[x] for p in rest], [p[y] for p in rest], linestyle="none", **dots)
    best = sorted((points[number][x], points[number][y], number) for number in front)
    line: dict[str, Any] = {"color": theme.best, "marker": "o", "markersize": 5, "linewidth": 1.2}
    axes.plot([at for at, _, _ in best], [up for _, up, _ in best], **line)
    for at, up, number in best if len(best) <= MAX_NAMED else ():
        axes.annotate(str(number), (at, up), (4, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel(x)
    clean(axes, theme)
