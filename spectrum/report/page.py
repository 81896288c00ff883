"""The page of a study: one HTML file that holds all it shows, and the figures beside it.

The page loads nothing from anywhere: style and figures are inside it. Each figure is there twice,
for light and for dark ground; ``figures/`` holds the light ones as PNG and SVG. Not here: how
figures are drawn and embedded (``pictures``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from spectrum import __version__
from spectrum.config import write_yaml
from spectrum.errors import SearchError
from spectrum.owners import write_whole
from spectrum.report.attention import attention_facts
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
from spectrum.report.pictures import Picture, data_address, write_pictures
from spectrum.report.pipeline_slices import PipelineSlices, pipeline_slices
from spectrum.report.reruns import rerun_rows
from spectrum.report.shares import Shares, shares_of
from spectrum.report.statement_page import statement_facts
from spectrum.report.templates import FOLDER, page_environment
from spectrum.search.savings import savings
from spectrum.search.view import StudyView, view_study

__all__ = ["page_text", "write_report"]

MAX_ROWS = 200
"""Trials listed; the others are in trials.jsonl."""

MAX_COLUMNS = 8
"""Parameters listed with each trial, the most important first."""


def write_report(
    study_folder: Path,
    *,
    importance: Mapping[str, float] | None = None,
    shards_root: Path | None = None,
    on_figure_done: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``report/index.html`` and ``report/figures`` of a study.

    Parameters
    ----------
    study_folder : as a search leaves it; nothing outside ``report/`` is touched
    importance : share of each parameter, by config path
        By default it is computed from the study's journal.
    shards_root : folder of shard sets, from which a few runs are shown
        A folder ``shards`` beside the folder of studies is looked at too.
    on_figure_done : told figures drawn, and how many there are

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
    shares = shares_of(study, given=importance)
    out = study_folder / "report"
    pictures = write_pictures(
        study_figures(study, importance=shares.first, by_method=shares.by_method),
        out / "figures",
        on_done=on_figure_done,
    )
    roots = [study_folder.resolve().parent.parent / "shards"]
    slices = pipeline_slices(study, [shards_root, *roots] if shards_root else roots)
    for place, run in enumerate(slices.runs):
        (out / "figures" / f"brain-{place}.png").write_bytes(run.png)
    page = out / "index.html"
    write_whole(page, page_text(study, shares=shares, pictures=pictures, brain=slices).encode())
    return page


def page_text(
    study: StudyView,
    *,
    shares: Shares,
    pictures: Mapping[str, Picture],
    brain: PipelineSlices,
) -> str:
    """Return the page of a study as HTML.

    Parameters
    ----------
    study : with at least one line
    shares : importance of its parameters
    pictures : what is shown, by the names of ``gallery``; a figure that is absent has no place
    brain : slices of a few runs, or why there are none
    """
    context = {**_context(study, shares.first), **_evidence(study)}
    return (
        _environment()
        .get_template("page.html")
        .render(context, shares=shares, pictures=pictures, brain=brain)
    )


def _context(study: StudyView, importance: Mapping[str, float]) -> dict[str, Any]:
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
        "saved": savings(study.lines),
        "problems": problems(study.manifest),
        "warnings": _warnings(study),
        "manifest": flat({k: v for k, v in study.manifest.items() if k not in _NOT_FLAT}),
        "space_yaml": write_yaml(space) if space else "",
        "target": best["config"].get("target", "") if best else "",
    }


def _evidence(study: StudyView) -> dict[str, Any]:
    """Return what was done with the study after its search, as far as it was."""
    attention = attention_facts(study.path / "attention")
    return {
        "reruns": rerun_rows(study),
        "statement": statement_facts(study),
        "attention": attention,
        "attention_png": data_address(attention.png.read_bytes(), "image/png")
        if attention
        else "",
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
