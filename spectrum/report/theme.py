"""Colours, type and sizes of the figures, on light and on dark ground.

Figures are made as objects, without pyplot, so that no state is shared and no window can open.
Colours follow Okabe and Ito (2008): they are told apart by all common kinds of colour vision.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

__all__ = [
    "DARK",
    "LIGHT",
    "FigureMaker",
    "Theme",
    "broken_line",
    "clean",
    "darkened",
    "new_canvas",
    "new_figure",
    "render",
]

WIDTH_IN: Final = 7.6
PNG_DPI: Final = 160
WEBP_QUALITY: Final = 72
NUM_SHADES: Final = 8

Kind = Literal["svg", "png", "webp"]


@dataclass(frozen=True, slots=True)
class Theme:
    """One ground with the inks that read on it."""

    ground: str
    ink: str
    muted: str
    faint: str
    best: str
    floor: str
    chance: str
    cycle: tuple[str, ...]

    @property
    def shades(self) -> tuple[str, ...]:
        """Colours from ``faint`` to ``best`` in even steps, for what has an order."""
        ends = to_rgb(self.faint), to_rgb(self.best)
        return tuple(_between(*ends, step / (NUM_SHADES - 1)) for step in range(NUM_SHADES))

    @property
    def inks(self) -> tuple[str, ...]:
        """Every colour of the theme, the same place for the same purpose."""
        plain = (self.ground, self.ink, self.muted, self.faint, self.best, self.floor, self.chance)
        return (*plain, *self.cycle, *self.shades)


Rgb = tuple[float, float, float]


def _between(low: Rgb, high: Rgb, share: float) -> str:
    red, green, blue = (a + (b - a) * share for a, b in zip(low, high, strict=True))
    return to_hex((red, green, blue))


LIGHT: Final = Theme(
    ground="#ffffff",
    ink="#1c1d1f",
    muted="#63676d",
    faint="#c9ccd1",
    best="#0b5fa5",
    floor="#b3440f",
    chance="#63676d",
    cycle=("#0b5fa5", "#c76a00", "#00795c", "#a8477d", "#5d6a00", "#3a8fc7", "#7a4a1c", "#444444"),
)

DARK: Final = Theme(
    ground="#15171a",
    ink="#e8e6e1",
    muted="#a2a5aa",
    faint="#4a4e55",
    best="#6db8f0",
    floor="#f0925c",
    chance="#a2a5aa",
    cycle=("#6db8f0", "#f2b14e", "#4fc7a4", "#e59ac3", "#cdd35f", "#a7c9e8", "#d2a679", "#cfcfcf"),
)

FigureMaker = Callable[[Theme], Figure]
"""Draws one figure on a ground."""


def new_figure(
    height_in: float, *, rows: int = 1, columns: int = 1, **more: Any
) -> tuple[Figure, Any]:
    """Return a figure as wide as the page with its axes, as ``Figure.subplots`` gives them."""
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **more)


def new_canvas(height_in: float) -> Figure:
    """Return an empty figure as wide as the page, whose axes are placed by hand."""
    figure = Figure(figsize=(WIDTH_IN, height_in))
    FigureCanvasAgg(figure)
    return figure


def broken_line(
    curves: Iterable[tuple[Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float]]:
    """Return many curves as one line with gaps: one element of an SVG, however many they are."""
    across: list[float] = []
    up: list[float] = []
    for xs, ys in curves:
        across += [*xs, math.nan]
        up += [*ys, math.nan]
    return across, up


def clean(axes: Axes, theme: Theme, *, grid: Literal["x", "y", "none"] = "y") -> None:
    """Leave of the frame only what carries a scale; draw a faint grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if grid != "none":
        axes.grid(axis=grid, color=theme.faint, linewidth=0.5, alpha=0.6)
        axes.set_axisbelow(True)


def render(make: FigureMaker, theme: Theme, *kinds: Kind) -> tuple[bytes, ...]:
    """Draw a figure and return its files, the same bytes for the same data."""
    with _settings(theme):
        figure = make(theme)
        return tuple(_file(figure, kind, theme) for kind in kinds)


def darkened(light_svg: bytes) -> bytes | None:
    """Return an SVG that was drawn for light ground in the colours of dark ground.

    None where it holds pixels, whose colours are not text: such a figure is drawn again.
    """
    if b"<image" in light_svg:
        return None
    dark_of = {a.encode(): b.encode() for a, b in zip(LIGHT.inks, DARK.inks, strict=True)}
    return re.sub(rb"#[0-9a-f]{6}\b", lambda hit: dark_of.get(hit[0], hit[0]), light_svg)


def _file(figure: Figure, kind: Kind, theme: Theme) -> bytes:
    file = io.BytesIO()
    more_of_kind: dict[str, dict[str, Any]] = {
        "svg": {"metadata": {"Date": None}},
        "png": {"metadata": {"Software": None}},
        "webp": {"pil_kwargs": {"quality": WEBP_QUALITY}},
    }
    figure.savefig(file, format=kind, dpi=PNG_DPI, facecolor=theme.ground, **more_of_kind[kind])
    figure.set_layout_engine("none")
    return file.getvalue()


@contextmanager
def _settings(theme: Theme) -> Iterator[None]:
    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.labelsize": 8.5,
        "axes.facecolor": theme.ground,
        "axes.edgecolor": theme.muted,
        "axes.linewidth": 0.7,
        "axes.labelcolor": theme.ink,
        "axes.titlecolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.4,
        "svg.hashsalt": "spectrum",
        "svg.fonttype": "path",
    }
    with rc_context(settings):
        yield
