"""The figures of a page: drawn once, written beside it, and embedded for light and dark ground.

Not here: which figures there are (``gallery``), and how each is drawn.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spectrum.report.theme import DARK, LIGHT, FigureMaker, darkened, render

__all__ = ["Picture", "data_address", "write_pictures"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure inside the page: data addresses for light and dark ground, and what it shows."""

    light: str
    dark: str
    alt: str


def write_pictures(
    makers: Mapping[str, tuple[str, FigureMaker]],
    folder: Path,
    *,
    on_done: Callable[[int, int], None] | None = None,
) -> dict[str, Picture]:
    """Draw each figure, write it as PNG and SVG into a folder, and return what a page embeds.

    Parameters
    ----------
    makers : description and maker of each figure, by name
    folder : is emptied first
    on_done : told figures drawn, and how many there are
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures: dict[str, Picture] = {}
    for name, of in makers.items():
        pictures[name] = _written(folder / name, *of)
        if on_done is not None:
            on_done(len(pictures), len(makers))
    return pictures


def _written(stem: Path, alt: str, make: FigureMaker) -> Picture:
    light, png = render(make, LIGHT, "svg", "png")
    stem.with_suffix(".svg").write_bytes(light)
    stem.with_suffix(".png").write_bytes(png)
    dark = darkened(light) or render(make, DARK, "svg")[0]
    return Picture(data_address(light), data_address(dark), alt)


def data_address(content: bytes, kind: str = "image/svg+xml") -> str:
    """Return an address that holds a file itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
