"""A folder of figures, one a run, and one page that shows them all.

Figures are named by run, content, and whether image and spatial part were there, so that only runs
are drawn that are new or of which more can be shown by now; each appears whole or not at all. The
page holds its small pictures itself, loads nothing from anywhere and runs no script. Memory: that
of one run; the page is written picture by picture. Not here: what a figure shows (``run_figure``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from spectrum import __version__
from spectrum.config import fingerprint
from spectrum.data.manifest import Refusal, ShardManifest, ShardRun
from spectrum.data.run_views import RunSources, view_run
from spectrum.data.shards import ShardSet
from spectrum.errors import ConfigError
from spectrum.owners import write_whole, written_aside
from spectrum.report.run_facts import (
    QUALITY,
    format_number,
    outliers,
    recipe_text,
    run_problems,
    worst_first,
)
from spectrum.report.run_figure import draw_run, draw_thumbnail
from spectrum.report.templates import FOLDER, page_environment
from spectrum.report.theme import LIGHT, render

__all__ = ["RunFigure", "draw_new_runs", "figure_name", "write_run_plots"]

FIGURES_VERSION: Final = 2
"""Raised when figures look otherwise, so that they are drawn again."""

FIGURES_NAME: Final = "runs"

ON_BLACK: Final = replace(LIGHT, ground="#000000")
"""Small pictures are slices and little else, on both grounds."""


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigure:
    """The files of one run's figure."""

    run: ShardRun
    figure: Path
    thumbnail: Path


def write_run_plots(
    shards: ShardSet,
    sources: Mapping[str, RunSources],
    folder: Path,
    *,
    on_run_done: Progress | None = None,
) -> Path:
    """Draw each run of a set that has no figure of all that is there, and write the page of all.

    Parameters
    ----------
    shards : an open set
    sources : where its runs came from, by name
    folder : gets ``index.html`` and ``runs/``; made where it is not there
    on_run_done : told runs done and runs in all, after each run

    Returns
    -------
    page : path of the HTML file

    Raises
    ------
    ConfigError
        The folder cannot be written to.
    ShardError
        The set is gone or damaged.
    """
    try:
        figures = draw_new_runs(shards, sources, folder, on_run_done=on_run_done)
        return _write_page(shards.manifest, figures, folder)
    except OSError as err:
        raise ConfigError(
            f"Figures cannot be written to {folder}: {err.strerror or err}. "
            "Give a folder that can be written to, --plots FOLDER; the shards are complete."
        ) from err


def draw_new_runs(
    shards: ShardSet,
    sources: Mapping[str, RunSources],
    folder: Path,
    *,
    on_run_done: Progress | None = None,
) -> tuple[RunFigure, ...]:
    """Draw the figures that are not there, or lack what could be shown now.

    Returns
    -------
    figures
        Of all runs, in the order of the set.
    """
    place = folder / FIGURES_NAME
    place.mkdir(parents=True, exist_ok=True)
    runs = shards.manifest.runs
    figures = []
    for done, run in enumerate(runs, start=1):
        source = sources[str(run.key)]
        figures.append(_drawn_before(run, place, source) or _draw(shards, run, place, source))
        if on_run_done is not None:
            on_run_done(done, len(runs))
    return tuple(figures)


def figure_name(run: ShardRun, *, is_scanned: bool = True, is_laid: bool = True) -> str:
    """Return the name of a run's files without ending: its key, and what its figure shows.

    Parameters
    ----------
    run : in a set
    is_scanned : whether the figure shows the image as scanned
    is_laid : whether it shows the mean on the final grid
    """
    safe = re.sub(r"[^A-Za-z0-9.+-]+", "_", str(run.key)).strip("._")
    shown = [FIGURES_VERSION, run.fingerprint, run.content_sha256, run.person]
    return f"{safe}_{fingerprint([*shown, is_scanned, is_laid])[:10]}"


def _drawn_before(run: ShardRun, place: Path, sources: RunSources) -> RunFigure | None:
    """Return a figure that shows at least what could be shown now."""
    can_scan = bool(sources.image_paths) and all(path.is_file() for path in sources.image_paths)
    can_lay = sources.spatial.is_file()
    for is_scanned, is_laid in product((True, False), repeat=2):
        found = _files(place, figure_name(run, is_scanned=is_scanned, is_laid=is_laid), run)
        is_there = found.figure.is_file() and found.thumbnail.is_file()
        if is_there and is_scanned >= can_scan and is_laid >= can_lay:
            return found
    return None


def _files(place: Path, name: str, run: ShardRun) -> RunFigure:
    return RunFigure(run=run, figure=place / f"{name}.png", thumbnail=place / f"{name}.webp")


def _draw(shards: ShardSet, run: ShardRun, place: Path, sources: RunSources) -> RunFigure:
    view = view_run(shards, run, sources)
    is_scanned, is_laid = (not isinstance(shown, str) for shown in (view.scanned, view.laid))
    wanted = _files(place, figure_name(run, is_scanned=is_scanned, is_laid=is_laid), run)
    problems = run_problems(view.run, view.recipe)
    (small,) = render(lambda theme: draw_thumbnail(theme, view=view), ON_BLACK, "webp")
    (large,) = render(lambda theme: draw_run(theme, view=view, problems=problems), LIGHT, "png")
    _remove_older(wanted)
    write_whole(wanted.thumbnail, small)
    write_whole(wanted.figure, large)
    return wanted


def _remove_older(wanted: RunFigure) -> None:
    """Remove figures that the run had with other content; the page will not name them."""
    stem, _, _ = wanted.figure.stem.rpartition("_")
    for path in wanted.figure.parent.glob(f"{stem}_*"):
        if re.fullmatch(rf"{re.escape(stem)}_[0-9a-f]{{10}}\.(png|webp)", path.name):
            path.unlink(missing_ok=True)


def _write_page(manifest: ShardManifest, figures: Sequence[RunFigure], folder: Path) -> Path:
    parts = page_environment().get_template("runs.html").generate(_context(manifest, figures))
    page = folder / "index.html"
    with written_aside(page) as aside, aside.open("wb") as file:
        for part in parts:
            file.write(part.encode())
    return page


def _context(manifest: ShardManifest, figures: Sequence[RunFigure]) -> dict[str, Any]:
    runs, recipe = manifest.runs, manifest.recipe
    odd = outliers(runs)
    problems = {
        str(run.key): (*_own_problems(run, manifest), *odd.get(str(run.key), ())) for run in runs
    }
    orders = {
        "worst": worst_first(runs, problems),
        "run": [str(run.key) for run in runs],
        "motion": _by_number(runs, "fd_mean", highest_first=True),
        "dvars": _by_number(runs, "dvars_mean", highest_first=True),
        "tsnr": _by_number(runs, "tsnr", highest_first=False),
    }
    places = {
        order: {name: place for place, name in enumerate(names)} for order, names in orders.items()
    }
    return {
        "version": __version__,
        "style": Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        "runs_style": Markup((FOLDER / "runs.css").read_text(encoding="utf-8")),
        "recipe": recipe_text(recipe),
        "warnings": recipe.warnings,
        "fingerprint": manifest.fingerprint,
        "num_volumes": manifest.num_volumes,
        "num_datasets": len({run.dataset for run in runs}),
        "num_marked": sum(bool(told) for told in problems.values()),
        "orders": _told_orders(runs),
        "num_runs": len(figures),
        # One at a time: the small pictures of a thousand runs are tens of MB.
        "cards": (
            _card(figure, problems[str(figure.run.key)], places)
            for figure in sorted(figures, key=lambda f: places["worst"][str(f.run.key)])
        ),
        "refused": sorted(manifest.refused, key=_path_of),
    }


def _own_problems(run: ShardRun, manifest: ShardManifest) -> tuple[str, ...]:
    """Return a run's problems but for the recipe's, which the page tells once."""
    masked = manifest.recipe.model_copy(update={"brain_mask": True})
    return run_problems(run, masked)


def _path_of(refusal: Refusal) -> str:
    return refusal.path


def _by_number(runs: Sequence[ShardRun], name: str, *, highest_first: bool) -> list[str]:
    sign = -1.0 if highest_first else 1.0

    def place(run: ShardRun) -> tuple[bool, float, str]:
        value = run.quality.get(name)
        return (value is None, sign * (value or 0.0), str(run.key))

    return [str(run.key) for run in sorted(runs, key=place)]


def _told_orders(runs: Sequence[ShardRun]) -> dict[str, str]:
    """Return the orders that a reader can choose, and what they are called."""
    names = {"motion": "fd_mean", "dvars": "dvars_mean", "tsnr": "tsnr"}
    labels = {"motion": "most motion", "dvars": "highest DVARS", "tsnr": "lowest tSNR"}
    known = {
        order: labels[order]
        for order, name in names.items()
        if any(run.quality.get(name) is not None for run in runs)
    }
    return {"worst": "worst first", "run": "by run", **known}


def _card(
    figure: RunFigure, problems: Sequence[str], places: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    run = figure.run
    small = base64.b64encode(figure.thumbnail.read_bytes()).decode()
    shown = [(number, run.quality.get(number.name)) for number in QUALITY[:3]]
    dataset, _, name = str(run.key).partition("/")
    return {
        "dataset": dataset,
        "name": name,
        "address": f"{FIGURES_NAME}/{figure.figure.name}",
        "picture": f"data:image/webp;base64,{small}",
        "numbers": [(number.label, format_number(number, value)) for number, value in shown],
        "volumes": run.num_volumes,
        "tr_s": f"{run.tr_s:g}",
        "problems": problems,
        "places": {order: names[str(run.key)] for order, names in places.items()},
    }
