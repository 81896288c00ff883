"""The page of a study: one HTML file that holds all it shows, and the figures beside it.

The page loads nothing from anywhere: style and figures are inside it. Each figure is there twice,
for light and for dark ground; ``figures/`` holds the light ones as PNG and SVG.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from spectrum import __version__
from spectrum.config import write_yaml
from spectrum.data.owners import write_whole
from spectrum.errors import SearchError
from spectrum.report.facts import (
    dataset_scores,
    flat,
    format_value,
    leaderboard,
    problems,
    references,
    summary,
)
from spectrum.report.gallery import study_figures
from spectrum.report.labels import recipe_warnings
from spectrum.report.pipeline_slices import pipeline_slices
from spectrum.report.templates import FOLDER, page_environment
from spectrum.report.theme import DARK, LIGHT, FigureMaker, render
from spectrum.search.savings import savings
from spectrum.search.shapley import ShapleyShares, shapley_shares
from spectrum.search.view import StudyView, view_study

__all__ = ["write_report"]

MAX_ROWS = 200
"""Trials listed; the others are in trials.jsonl."""

MAX_COLUMNS = 8
"""Parameters listed with each trial, the most important first."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure inside the page: data addresses for light and dark ground, and what it shows."""

    light: str
    dark: str
    alt: str


def write_report(
    study_folder: Path,
    *,
    importance: Mapping[str, float] | None = None,
    shards_root: Path | None = None,
) -> Path:
    """Write ``report/index.html`` and ``report/figures`` of a study.

    Parameters
    ----------
    study_folder : as a search leaves it; nothing outside ``report/`` is touched
    importance : share of each parameter, by config path
        By default it is computed from the study's journal.
    shards_root : folder of shard sets, from which a few runs are shown
        A folder ``shards`` beside the folder of studies is looked at too.

    Returns
    -------
    page : path of the HTML file

    Raises
    ------
    SearchError
        Where there is no study, or none of its trials has ended.
    """
    study = view_study(study_folder)
    if not study.lines:
        raise SearchError(
            f"{study_folder} has no trial that ended, so there is nothing to report. "
            "Continue the search with --resume."
        )
    shares = _importances(study_folder) if importance is None else dict(importance)
    by_method, shapley = _further_shares(study, shares)
    makers = study_figures(study, importance=shares, by_method=by_method)
    out = study_folder / "report"
    pictures = _write_figures(makers, out / "figures")
    roots = [study_folder.resolve().parent.parent / "shards"]
    slices = pipeline_slices(study, [shards_root, *roots] if shards_root else roots)
    for place, run in enumerate(slices.runs):
        (out / "figures" / f"brain-{place}.png").write_bytes(run.png)
    context = {**_context(study, shares, pictures), "brain": slices, "shapley": shapley}
    text = _environment().get_template("page.html").render(context)
    page = out / "index.html"
    write_whole(page, text.encode())
    return page


def _importances(study_folder: Path) -> dict[str, float]:
    from spectrum.search.importance import importances

    if not (study_folder / "optuna.journal").is_file():
        return {}
    return importances(study_folder)


def _further_shares(
    study: StudyView, shares: Mapping[str, float]
) -> tuple[dict[str, Mapping[str, float]], ShapleyShares | None]:
    """Return shares by method, and the Shapley ones with how far they can be trusted."""
    from spectrum.search.importance import MIN_TRIALS_FOR_IMPORTANCE, importances

    found: dict[str, Mapping[str, float]] = {"PED-ANOVA": shares} if shares else {}
    if (study.path / "optuna.journal").is_file():
        fanova = importances(study.path, method="fanova")
        found |= {"fANOVA": fanova} if fanova else {}
    complete = study.complete
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE:
        return found, None
    points = [line["params"] for line in complete]
    shapley = shapley_shares(points, [line["score"]["value"] for line in complete])
    return found | ({"Shapley": shapley.shares} if shapley else {}), shapley


def _write_figures(
    makers: Mapping[str, tuple[str, FigureMaker]], folder: Path
) -> dict[str, Picture]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures = {}
    for name, (alt, make) in makers.items():
        light, png = render(make, LIGHT, "svg", "png")
        (folder / f"{name}.svg").write_bytes(light)
        (folder / f"{name}.png").write_bytes(png)
        (dark,) = render(make, DARK, "svg")
        pictures[name] = Picture(_data_address(light), _data_address(dark), alt)
    return pictures


def _data_address(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _context(
    study: StudyView, importance: Mapping[str, float], pictures: Mapping[str, Picture]
) -> dict[str, Any]:
    space = study.manifest.get("space") or {}
    searched = tuple(space.get("parameters") or _params_of(study))
    paths = tuple(sorted(searched, key=lambda path: -importance.get(path, 0.0)))[:MAX_COLUMNS]
    rows = leaderboard(study, paths)
    best = study.best
    return {
        "name": study.manifest.get("name", study.path.resolve().name),
        "description": space.get("description", ""),
        "created": study.manifest.get("created", ""),
        "version": __version__,
        "style": Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        "summary": summary(study),
        "verdict": (study.floor or {}).get("verdict", ""),
        "references": references(study),
        "best": best,
        "best_config": flat(best["config"]) if best else {},
        "default_config": flat(_default_config(study)),
        "datasets": dataset_scores(best) if best else {},
        "paths": paths,
        "num_paths_left_out": len(searched) - len(paths),
        "rows": rows[:MAX_ROWS],
        "num_rows_left_out": max(0, len(rows) - MAX_ROWS),
        "causes": [row for row in rows if row.cause],
        "importance": importance,
        "saved": savings(study.lines),
        "pictures": pictures,
        "problems": problems(study.manifest),
        "warnings": _warnings(study),
        "manifest": flat({k: v for k, v in study.manifest.items() if k not in _NOT_FLAT}),
        "space_yaml": write_yaml(space) if space else "",
        "target": best["config"].get("target", "") if best else "",
    }


_NOT_FLAT = ("space", "problems", "refused", "name")


def _params_of(study: StudyView) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for line in study.lines for path in line["params"]))


def _default_config(study: StudyView) -> Mapping[str, Any]:
    line = next((line for line in study.lines if line["number"] == 0), None)
    return line["config"] if line else {}


def _warnings(study: StudyView) -> dict[str, tuple[str, ...]]:
    """Return what must be said of the recipes whose scores the page discusses."""
    told = {"The selected trial": study.best["config"] if study.best else {}}
    told["The default configuration"] = _default_config(study)
    found = {who: recipe_warnings(config) for who, config in told.items() if config}
    return {who: sentences for who, sentences in found.items() if sentences}


def _environment() -> jinja2.Environment:
    environment = page_environment()
    environment.filters["value"] = format_value
    return environment
