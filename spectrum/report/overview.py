"""Figures of a search as a whole: trials over time, and parallel coordinates.

Not here: single parameters (``slices``), and learning epoch by epoch (``curves``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from numpy.typing import NDArray

from spectrum.report.facts import format_value
from spectrum.report.theme import Theme, broken_line, clean, new_figure

__all__ = ["MAX_AXES", "draw_parallel", "draw_timeline", "timed"]

MAX_AXES: Final = 8
"""Parameters drawn side by side, the most important first."""

MAX_LINES: Final = 3000
"""Lines above which they become pixels inside the SVG, which stays small."""

MAX_EDGED: Final = 20
"""Lanes of the timeline above which gaps between bars would cover the bars."""

MAX_WIDE: Final = 200
"""Trials above which lines through parameters are thin."""

ABSENT: Final = -0.12
"""Where a trial lies on the axis of a parameter that it does not have."""

Lines = Sequence[Mapping[str, Any]]


def timed(lines: Lines) -> list[tuple[float, float, str]]:
    """Return begin and length in seconds, and state, of the trials that say when they began.

    The first begins at 0; in the order of their begin.
    """
    rows = [
        (
            datetime.fromisoformat(line["started"]).timestamp(),
            float(line["seconds"]),
            line["state"],
        )
        for line in lines
        if line.get("started") and line.get("seconds") is not None
    ]
    first = min((begin for begin, _, _ in rows), default=0.0)
    return sorted((begin - first, length, state) for begin, length, state in rows)


def draw_timeline(theme: Theme, *, rows: Sequence[tuple[float, float, str]]) -> Figure:
    """Draw each trial as a bar over time, in as many lanes as ran at once."""
    lanes = _lanes(rows)
    unit_s, unit = _unit(max(begin + length for begin, length, _ in rows))
    figure, axes = new_figure(min(3.2, 1.0 + 0.16 * (max(lanes) + 1)))
    colours = {"complete": theme.best, "pruned": theme.faint, "failed": theme.floor}
    for state, colour in colours.items():
        bars = [
            _bar(begin / unit_s, length / unit_s, lane)
            for (begin, length, of), lane in zip(rows, lanes, strict=True)
            if of == state
        ]
        if bars:
            shape = Path.make_compound_path(*bars)
            edge = theme.ground if max(lanes) < MAX_EDGED else colour
            axes.add_patch(PathPatch(shape, facecolor=colour, edgecolor=edge, linewidth=0.4))
    axes.set_xlim(0.0, max(begin + length for begin, length, _ in rows) / unit_s or 1.0)
    names = {"complete": "complete", "pruned": "stopped early", "failed": "failed"}
    handles = [Patch(color=colours[state], label=name) for state, name in names.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    axes.set_yticks([])
    axes.set_ylabel("at once")
    axes.set_xlabel(f"{unit} since the first trial began")
    axes.set_ylim(max(lanes) + 0.6, -0.6)
    clean(axes, theme, grid="x")
    return figure


def _bar(begin: float, length: float, lane: int) -> Path:
    low, high = lane - 0.36, lane + 0.36
    end = begin + length
    return Path([(begin, low), (end, low), (end, high), (begin, high), (begin, low)], closed=True)


def _lanes(rows: Sequence[tuple[float, float, str]]) -> list[int]:
    """Return for each trial the first lane that is free when it begins."""
    free_at: list[float] = []
    lanes = []
    for begin, length, _ in rows:
        lane = next((n for n, end in enumerate(free_at) if end <= begin + 1.0), len(free_at))
        if lane == len(free_at):
            free_at.append(0.0)
        free_at[lane] = begin + length
        lanes.append(lane)
    return lanes


def _unit(seconds: float) -> tuple[float, str]:
    if seconds < 600:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 4 * 3600 else (3600.0, "hours")


def draw_parallel(
    theme: Theme, *, lines: Lines, paths: Sequence[str], logarithmic: frozenset[str], best: int
) -> Figure:
    """Draw each complete trial as a line through its parameters, coloured by its score."""
    shown = list(paths[:MAX_AXES])
    scores = np.array([line["score"]["value"] for line in lines], dtype=np.float64)
    figure, axes = new_figure(3.3)
    columns = [
        _draw_axis(
            axes, theme, at, path, [line["params"].get(path) for line in lines], logarithmic
        )
        for at, path in enumerate(shown)
    ]
    columns.append(_draw_scores(axes, theme, len(shown), scores))
    table_NA = np.column_stack(columns)
    is_best = np.array([line["number"] == best for line in lines])
    width = 0.9 if len(lines) <= MAX_WIDE else 0.3
    _draw_lines(axes, theme, table_NA[~is_best], width=width)
    _draw_lines(axes, theme, table_NA[is_best], width=2.2)
    axes.set(xlim=(-0.3, len(shown) + 0.4), ylim=(-0.2, 1.1), yticks=[])
    names = [path.replace(".", ".\n", 1) for path in shown]
    axes.set_xticks(range(len(shown) + 1), [*names, "score"], fontsize=6.5)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _draw_lines(axes: Axes, theme: Theme, table_NA: NDArray[np.float64], *, width: float) -> None:
    """Draw trials (N) through axes (A), the last the score: one line with gaps a shade."""
    last = len(theme.shades) - 1
    steps_N = np.rint(table_NA[:, -1] * last).astype(int)
    for step, colour in enumerate(theme.shades):
        rows = [(range(table_NA.shape[1]), row.tolist()) for row in table_NA[steps_N == step]]
        axes.plot(
            *broken_line(rows),
            color=colour,
            linewidth=width,
            zorder=2,
            rasterized=len(table_NA) > MAX_LINES,
        )


def _draw_axis(
    axes: Axes,
    theme: Theme,
    at: int,
    path: str,
    values: Sequence[Any],
    logarithmic: frozenset[str],
) -> NDArray[np.float64]:
    """Draw the scale of a parameter; return where each trial lies on it, in [0, 1]."""
    known = [value for value in values if value is not None]
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
    if are_numbers:
        change = np.log if path in logarithmic and min(known) > 0 else np.asarray
        low, high = (float(change(end)) for end in (min(known), max(known)))
        ticks = [(min(known), 0.0), (max(known), 1.0)] if high > low else [(low, 0.5)]
        places = [_place(v, change, low, high) for v in values]
    else:
        names = sorted({format_value(value) for value in known})
        step = 1 / max(1, len(names) - 1)
        ticks = [(name, place * step) for place, name in enumerate(names)]
        places = [ABSENT if v is None else names.index(format_value(v)) * step for v in values]
    axes.axvline(at, color=theme.muted, linewidth=0.7, ymin=0.15, ymax=0.93, zorder=1)
    for value, height in ticks:
        _label(axes, theme, at, height, format_value(value))
    return np.array(places, dtype=np.float64)


def _place(value: Any, change: Any, low: float, high: float) -> float:
    if value is None:
        return ABSENT
    return 0.5 if high == low else (float(change(value)) - low) / (high - low)


def _draw_scores(
    axes: Axes, theme: Theme, at: int, scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    low, high = float(scores.min()), float(scores.max())
    axes.axvline(at, color=theme.muted, linewidth=0.7, ymin=0.15, ymax=0.93, zorder=1)
    for value, height in ((low, 0.0), (high, 1.0)) if high > low else ((low, 0.5),):
        _label(axes, theme, at, height, f"{value:.3f}")
    return (scores - low) / (high - low) if high > low else np.full_like(scores, 0.5)


def _label(axes: Axes, theme: Theme, at: float, height: float, text: str) -> None:
    axes.text(
        at + 0.04,
        height,
        text,
        fontsize=6.5,
        va="center",
        zorder=4,
        bbox={"facecolor": theme.ground, "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
    )
