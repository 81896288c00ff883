"""Slices of a few runs of a study on their way through its default recipe.

Of each data set the run that moved most and one in the middle. The shards may be on another
machine: then a sentence stands here instead. Not here: the whole figure of a run
(``run_figure``, ``spectrum prepare --plot``).
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from spectrum.data.manifest import ShardRun
from spectrum.data.run_views import RunSources, sources_of_set, view_run
from spectrum.data.shards import ShardSet
from spectrum.data.store import find_by_content
from spectrum.errors import ShardError, StorageError
from spectrum.report.run_facts import recipe_text, run_problems
from spectrum.report.run_figure import draw_strips
from spectrum.report.theme import DARK, LIGHT, render
from spectrum.search.view import StudyView

__all__ = ["PipelineSlices", "RunSlices", "chosen_runs", "datasets_left_out", "pipeline_slices"]

MAX_DATASETS: Final = 8
"""Data sets shown; two figures each are enough for a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSlices:
    """One run's slices: its name, why it is shown, its pictures as files, and its problems."""

    name: str
    why: str
    light: str
    dark: str
    png: bytes
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSlices:
    """What the section shows; ``reason`` says why there is nothing, and is empty otherwise.

    ``left_out`` are the data sets of the study that are not shown for want of room.
    """

    runs: tuple[RunSlices, ...] = ()
    recipe: str = ""
    reason: str = ""
    left_out: tuple[str, ...] = ()


def pipeline_slices(study: StudyView, roots: Sequence[Path]) -> PipelineSlices:
    """Draw a few runs of the set that the study's default configuration used.

    Parameters
    ----------
    study : its manifest names the content of the set
    roots : folders of shard sets to look in, in this order
    """
    content = str((study.manifest.get("data") or {}).get("content") or "")
    if not content:
        return PipelineSlices(reason="The study does not say which shard set it used.")
    try:
        found = find_by_content(content, roots)
        if found is None:
            return PipelineSlices(
                reason="The shards of this study are not here, so no slices are shown. With the "
                "folder that holds them, spectrum report STUDY --shards FOLDER shows them."
            )
        shards = ShardSet.open(found)
        runs = tuple(_iter_slices(shards))
    except (ShardError, StorageError, OSError) as err:
        return PipelineSlices(reason=f"The shards of this study cannot be read: {err}")
    return PipelineSlices(
        runs=runs,
        recipe=recipe_text(shards.manifest.recipe),
        left_out=datasets_left_out(shards.manifest.runs),
    )


def chosen_runs(runs: Sequence[ShardRun]) -> tuple[tuple[ShardRun, str], ...]:
    """Return of each data set the run that moved most and the one in the middle, and why.

    Of the first eight data sets; ``datasets_left_out`` are the others.

    Framewise displacement says how much a run moved; where it is not known for all runs of a data
    set, DVARS does.
    """
    of_dataset: defaultdict[str, list[ShardRun]] = defaultdict(list)
    for run in runs:
        of_dataset[run.dataset].append(run)
    chosen: list[tuple[ShardRun, str]] = []
    for members in list(of_dataset.values())[:MAX_DATASETS]:
        name, label, unit = _measure(members)
        ordered = sorted(members, key=lambda run: (run.quality.get(name) or 0.0, str(run.key)))
        middle, worst = ordered[(len(ordered) - 1) // 2], ordered[-1]
        for run, place in ((worst, "highest"), (middle, "median of")):
            if run is worst and place != "highest":
                continue
            value = run.quality.get(name)
            told = "not known" if value is None else f"{value:.2f} {unit}"
            chosen.append((run, f"{place} {label} in {run.dataset}, {told}"))
    return tuple(chosen)


def datasets_left_out(runs: Sequence[ShardRun]) -> tuple[str, ...]:
    """Return the data sets of which no run is chosen, in the order of the set."""
    return tuple(dict.fromkeys(run.dataset for run in runs))[MAX_DATASETS:]


def _measure(runs: Sequence[ShardRun]) -> tuple[str, str, str]:
    if all(run.quality.get("fd_mean") is not None for run in runs):
        return "fd_mean", "mean framewise displacement", "mm"
    return "dvars_mean", "mean DVARS", "%"


def _iter_slices(shards: ShardSet) -> Iterator[RunSlices]:
    sources = sources_of_set(shards)
    for run, why in chosen_runs(shards.manifest.runs):
        yield _draw(shards, run, why, sources[str(run.key)])


def _draw(shards: ShardSet, run: ShardRun, why: str, sources: RunSources) -> RunSlices:
    make = partial(draw_strips, view=view_run(shards, run, sources))
    light, png = render(make, LIGHT, "webp", "png")
    (dark,) = render(make, DARK, "webp")
    return RunSlices(
        name=str(run.key),
        why=why,
        light=_address(light),
        dark=_address(dark),
        png=png,
        problems=run_problems(run, shards.manifest.recipe),
    )


def _address(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
