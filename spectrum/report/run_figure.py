"""The figure of one run, to be taken in at one glance, and a small one for lists.

From top to bottom: what the run is and what is wrong with it; slices as scanned, on the final
grid, and after the recipe, with the outline of the mask; head motion; DVARS and global signal;
the carpet; quality numbers. Not here: how the numbers come about (``spectrum.data``).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spectrum.data.run_views import RunView, Volume
from spectrum.report.montage import Mosaic, draw_mosaic, gray_range, mosaic_of
from spectrum.report.run_facts import FD_LIMIT_MM, QUALITY, format_number, recipe_text
from spectrum.report.theme import Theme, clean

__all__ = ["draw_run", "draw_strips", "draw_thumbnail"]

TITLE_IN: Final = 0.27
"""Room above a part for its title."""

LINE_IN: Final = 0.165
NUM_AXIAL: Final = 7
LINE_CHARACTERS: Final = 116
NUMBERS_PER_ROW: Final = 6

COURSE_IN: Final = {"shifts": 0.72, "turns": 0.72, "fd": 0.62, "dvars": 0.78, "carpet": 1.8}
"""Height of each course over time."""

REASON_IN: Final = 0.4
"""Height of a part that only says why there is nothing to see."""

DIRECTIONS: Final = ("x, right", "y, front", "z, top")
TURNS: Final = ("x, nodding", "y, tilting", "z, turning")
UNITS: Final = {"zscore": "SD", "percent": "%", "volume": "SD", "none": "scanner"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Width:
    """Width of a figure and of its margins, inches."""

    figure_in: float
    left_in: float
    right_in: float

    @property
    def axes_in(self) -> float:
        return self.figure_in - self.left_in - self.right_in


WHOLE: Final = _Width(figure_in=9.0, left_in=0.72, right_in=1.05)
STRIPS: Final = _Width(figure_in=5.6, left_in=0.0, right_in=0.6)
"""Narrow, so that its words are still read on a telephone."""


class _Page:
    """Places axes from top to bottom on a figure of a given height, all of one width."""

    def __init__(self, height_in: float, width: _Width) -> None:
        self.figure = Figure(figsize=(width.figure_in, height_in))
        FigureCanvasAgg(self.figure)
        self.height_in = height_in
        self.used_in = 0.12
        self.width = width

    def add(self, height_in: float, *, above_in: float = TITLE_IN) -> Axes:
        """Return axes below all others."""
        self.used_in += above_in + height_in
        bottom = (self.height_in - self.used_in) / self.height_in
        left, wide = (
            inches / self.width.figure_in for inches in (self.width.left_in, self.width.axes_in)
        )
        return self.figure.add_axes((left, bottom, wide, height_in / self.height_in))


def draw_run(theme: Theme, *, view: RunView, problems: Sequence[str] = ()) -> Figure:
    """Draw one run.

    Parameters
    ----------
    theme : ground and inks
    view : what there is of the run
    problems : sentences, each marked under the title
    """
    head = _head(view, problems)
    strips = _strips(view)
    parts_in = [_part_in(strip, WHOLE) for strip in strips.values()]
    courses = {name: _course_in(name, view) for name in COURSE_IN}
    shown = [height for height in courses.values() if height]
    numbers = _numbers(view)
    numbers_in = 0.44 * -(-len(numbers) // NUMBERS_PER_ROW)
    titled_in = TITLE_IN * (len(parts_in) + len(shown) - bool(courses["turns"]))
    height_in = sum(parts_in) + sum(shown) + titled_in + 0.1 * bool(courses["turns"])
    page = _Page(height_in + 0.3 + LINE_IN * len(head) + numbers_in + 0.75, WHOLE)
    _draw_head(page.add(0.12 + LINE_IN * len(head), above_in=0.0), theme, head)
    for (name, strip), part_in in zip(strips.items(), parts_in, strict=True):
        _draw_strip(page.add(part_in), theme, view, name, strip)
    gaps = {"turns": 0.1}
    axes = {
        name: page.add(height, above_in=gaps.get(name, TITLE_IN))
        for name, height in courses.items()
        if height
    }
    _draw_courses(axes, theme, view)
    _draw_numbers(page.add(numbers_in, above_in=0.52), theme, numbers)
    return page.figure


def _strips(view: RunView) -> dict[str, Mosaic | str]:
    volumes = {"scanned": view.scanned, "laid": view.laid, "finished": view.finished}
    return {
        name: volume if isinstance(volume, str) else mosaic_of(volume, num_axial=NUM_AXIAL)
        for name, volume in volumes.items()
    }


def _part_in(strip: Mosaic | str, width: _Width) -> float:
    """Return the height of a strip that is as wide as the page, or of a reason."""
    if isinstance(strip, str):
        return REASON_IN
    rows, columns = strip.values.shape
    return float(width.axes_in * rows / columns)


def _course_in(name: str, view: RunView) -> float:
    """Return the height of a course, 0 for one that another's reason stands for."""
    if isinstance(view.motion_V6, str) and name in ("shifts", "turns"):
        return REASON_IN if name == "shifts" else 0.0
    if name == "fd" and isinstance(view.fd_V, str):
        return REASON_IN
    return COURSE_IN[name]


def draw_strips(theme: Theme, *, view: RunView) -> Figure:
    """Draw the slices of a run alone: as scanned, on the final grid, after the recipe."""
    strips = _strips(view)
    parts_in = [_part_in(strip, STRIPS) for strip in strips.values()]
    page = _Page(sum(parts_in) + TITLE_IN * len(parts_in) + 0.2, STRIPS)
    for (name, strip), part_in in zip(strips.items(), parts_in, strict=True):
        _draw_strip(page.add(part_in), theme, view, name, strip, is_brief=True)
    return page.figure


def draw_thumbnail(theme: Theme, *, view: RunView) -> Figure:
    """Draw a run small: slices as scanned, slices on the final grid, and the carpet."""
    figure = Figure(figsize=(3.6, 2.1), facecolor=theme.ground)
    FigureCanvasAgg(figure)
    volumes = [v for v in (view.scanned, view.laid) if isinstance(v, Volume)]
    if len(volumes) < 2:
        volumes.append(view.finished)
    for place, volume in enumerate(volumes[:2]):
        axes = figure.add_axes((0.0, 0.62 - 0.37 * place, 1.0, 0.37))
        mosaic = mosaic_of(volume, num_axial=4)
        if volume is view.finished:
            mosaic = mosaic.within_mask()
        limits = _limits(mosaic)
        cmap = "gray" if limits[0] >= 0 else "RdBu_r"
        draw_mosaic(axes, mosaic, cmap=cmap, limits=limits)
    carpet = figure.add_axes((0.02, 0.03, 0.96, 0.19))
    _show_carpet(carpet, view)
    carpet.set_axis_off()
    return figure


def _head(view: RunView, problems: Sequence[str]) -> list[tuple[str, bool]]:
    """Return the lines under the title, and whether each is a problem."""
    run = view.run
    sides = " x ".join(str(side) for side in run.source_shape[:3])
    edges = " x ".join(f"{edge:.3g}" for edge in run.voxel_mm)
    told = (
        f"{run.num_volumes} of {run.source_shape[3]} volumes, TR {run.tr_s:g} s, "
        f"{sides} voxels of {edges} mm. Recipe: {recipe_text(view.recipe)}."
    )
    lines = [(str(run.key), False)]
    lines += [(line, False) for line in textwrap.wrap(told, LINE_CHARACTERS)]
    for problem in problems:
        wrapped = textwrap.wrap(problem, LINE_CHARACTERS - 4)
        lines += [(f"!  {wrapped[0]}", True), *((f"    {line}", True) for line in wrapped[1:])]
    return lines


def _draw_head(axes: Axes, theme: Theme, lines: Sequence[tuple[str, bool]]) -> None:
    axes.set_axis_off()
    for place, (text, is_problem) in enumerate(lines):
        below_pt = 0.0 if place == 0 else 72 * (LINE_IN * place + 0.07)
        axes.annotate(
            text,
            (0.0, 1.0),
            (0.0, -below_pt),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=8.5 if place else 12,
            fontweight="bold" if place == 0 or is_problem else "normal",
            color=theme.floor if is_problem else (theme.muted if place else theme.ink),
        )


def _draw_strip(
    axes: Axes,
    theme: Theme,
    view: RunView,
    name: str,
    strip: Mosaic | str,
    *,
    is_brief: bool = False,
) -> None:
    brief, more = {
        "scanned": ("As scanned", f"mean of {view.run.num_volumes} volumes"),
        "laid": ("On the final grid", "mean before anything happens over time"),
        "finished": ("After the recipe", f"volume {view.shown_volume}"),
    }[name]
    volume = getattr(view, name)
    axes.set_title(brief)
    if isinstance(strip, str):
        _say(axes, theme, strip, num_characters=70 if is_brief else 100)
        return
    if not is_brief:
        axes.set_title(f"{brief}: {more}; {_grid_text(volume)}")
    if name == "finished":
        _draw_finished(axes, view, strip)
        return
    draw_mosaic(axes, strip, cmap="gray", limits=gray_range(strip))


def _draw_finished(axes: Axes, view: RunView, strip: Mosaic) -> None:
    limits = _limits(strip)
    cmap = "gray" if limits[0] >= 0 else "RdBu_r"
    image = draw_mosaic(axes, strip.within_mask(), cmap=cmap, limits=limits)
    beside = axes.inset_axes((1.012, 0.08, 0.012, 0.84))
    bar = axes.figure.colorbar(image, cax=beside)
    beside.set_title(UNITS[view.recipe.standardization], loc="left", pad=3, fontsize=8)
    bar.outline.set_visible(False)


def _limits(mosaic: Mosaic) -> tuple[float, float]:
    """Return gray levels for an image, and even ones around 0 for what goes below it."""
    values = mosaic.values[mosaic.inside]
    if values.size and float(values.min()) < 0.0:
        reach = float(np.percentile(np.abs(values), 98)) or 1.0
        return -reach, reach
    return gray_range(mosaic)


def _grid_text(volume: Volume) -> str:
    sides = " x ".join(str(side) for side in volume.values_XYZ.shape)
    edges = " x ".join(f"{edge:.3g}" for edge in volume.voxel_mm)
    return f"{sides} voxels of {edges} mm, {int(volume.inside_XYZ.sum())} in the mask"


def _draw_courses(axes: dict[str, Axes], theme: Theme, view: RunView) -> None:
    times_s = np.arange(view.run.num_volumes, dtype=np.float64) * np.float64(view.run.tr_s)
    _draw_motion(axes, theme, view, times_s)
    _draw_displacement(axes["fd"], theme, view.fd_V, times_s)
    _draw_dvars(axes["dvars"], theme, view, times_s)
    _draw_carpet(axes["carpet"], theme, view)
    for name in ("shifts", "turns", "fd", "dvars", "carpet"):
        if name in axes:
            axes[name].set_xlim(-0.5 * view.run.tr_s, times_s[-1] + 0.5 * view.run.tr_s)
            axes[name].tick_params(axis="x", labelbottom=name == "carpet")


def _draw_motion(
    axes: dict[str, Axes], theme: Theme, view: RunView, times_s: NDArray[np.float64]
) -> None:
    if isinstance(view.motion_V6, str):
        axes["shifts"].set_title("Head motion")
        _say(axes["shifts"], theme, view.motion_V6)
        return
    shifts, turns = view.motion_V6[:, :3], np.degrees(view.motion_V6[:, 3:])
    for name, values, labels, unit in (
        ("shifts", shifts, DIRECTIONS, "mm"),
        ("turns", turns, TURNS, "degrees"),
    ):
        for column, label in enumerate(labels):
            color = theme.cycle[column]
            axes[name].plot(times_s, values[:, column], color=color, linewidth=1.0, label=label)
        axes[name].set_ylabel(unit)
        axes[name].legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), handlelength=1.0)
        clean(axes[name], theme)
    axes["shifts"].set_title("Head motion: shifts and turns")


def _draw_displacement(
    axes: Axes, theme: Theme, fd_V: NDArray[np.float64] | str, times_s: NDArray[np.float64]
) -> None:
    axes.set_title("Framewise displacement")
    if isinstance(fd_V, str):
        _say(axes, theme, fd_V)
        return
    axes.plot(times_s, fd_V, color=theme.ink, linewidth=0.9)
    over = np.nan_to_num(fd_V, nan=0.0) > FD_LIMIT_MM
    axes.plot(times_s[over], fd_V[over], "o", color=theme.floor, markersize=3)
    axes.axhline(FD_LIMIT_MM, color=theme.floor, linestyle=(0, (4, 3)), linewidth=0.8)
    axes.set_ylim(0.0, max(1.2 * FD_LIMIT_MM, 1.1 * float(np.nanmax(fd_V))))
    axes.set_ylabel("mm")
    told = f"{int(over.sum())} of {len(fd_V)}\nvolumes above\n{FD_LIMIT_MM} mm"
    axes.annotate(told, (1.01, 0.95), xycoords="axes fraction", va="top", color=theme.floor)
    clean(axes, theme)


def _draw_dvars(axes: Axes, theme: Theme, view: RunView, times_s: NDArray[np.float64]) -> None:
    axes.set_title("DVARS and global signal, as scanned")
    axes.plot(times_s, view.dvars_V, color=theme.cycle[0], linewidth=0.9)
    axes.set_ylabel("DVARS, %", color=theme.cycle[0])
    clean(axes, theme)
    other = axes.twinx()
    other.plot(times_s, view.signal_V, color=theme.cycle[1], linewidth=0.9)
    other.set_ylabel("signal, %", color=theme.cycle[1])
    clean(other, theme, grid="none")
    other.ticklabel_format(useOffset=False)


def _draw_carpet(axes: Axes, theme: Theme, view: RunView) -> None:
    _show_carpet(axes, view)
    num = len(view.carpet_NV)
    axes.set_title(f"Carpet: {num} voxels after the recipe, from the brain's edge (top) inwards")
    axes.set_yticks([])
    axes.set_ylabel("voxels")
    axes.set_xlabel("seconds from the first volume that is kept")
    clean(axes, theme, grid="none")
    axes.spines["left"].set_visible(False)


def _show_carpet(axes: Axes, view: RunView) -> None:
    reach = 2.0 * float(view.carpet_NV.std()) or 1.0
    half_s = 0.5 * view.run.tr_s
    end_s = view.run.num_volumes * view.run.tr_s - half_s
    axes.imshow(
        view.carpet_NV,
        cmap="gray",
        vmin=-reach,
        vmax=reach,
        aspect="auto",
        extent=(-half_s, end_s, 0.0, 1.0),
    )


def _numbers(view: RunView) -> list[tuple[str, str]]:
    """Return the quality numbers that are known: label and value."""
    known = [(number, view.run.quality.get(number.name)) for number in QUALITY]
    return [(number.label, format_number(number, v)) for number, v in known if v is not None]


def _draw_numbers(axes: Axes, theme: Theme, numbers: Sequence[tuple[str, str]]) -> None:
    """Write label above value, in rows."""
    axes.set_axis_off()
    for place, (label, value) in enumerate(numbers):
        row, column = divmod(place, NUMBERS_PER_ROW)
        at, offset = (column / NUMBERS_PER_ROW, 1.0), 72 * 0.44 * row
        for text, below, size, color in (
            (label, 0.0, 7.5, theme.muted),
            (value, 11.0, 10.0, theme.ink),
        ):
            axes.annotate(
                text,
                at,
                (0.0, -offset - below),
                xycoords="axes fraction",
                textcoords="offset points",
                va="top",
                fontsize=size,
                color=color,
            )


def _say(axes: Axes, theme: Theme, text: str, *, num_characters: int = 100) -> None:
    """Write why there is nothing to see."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(theme.faint)
    wrapped = "\n".join(textwrap.wrap(text, num_characters))
    axes.text(
        0.5, 0.5, wrapped, transform=axes.transAxes, ha="center", va="center", color=theme.muted
    )
