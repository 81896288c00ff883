"""Figures of a page: few elements however many trials, the same drawing on both grounds."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.report.curves import MAX_SHOWN, evenly_ranked
from spectrum.report.gallery import study_figures
from spectrum.report.overview import draw_timeline
from spectrum.report.page import page_text
from spectrum.report.pictures import write_pictures
from spectrum.report.pipeline_slices import PipelineSlices
from spectrum.report.shares import shares_of
from spectrum.report.theme import DARK, LIGHT, darkened, render
from spectrum.search.shapley import MAX_EXPLAINED
from spectrum.search.view import view_study
from tests.unit.report.planted_study import (
    PlantedTrial,
    epochs_of,
    planted_trials,
    write_study,
)

NUM_TRIALS = 1000
MAX_PAGE_BYTES = 5_000_000
MAX_ELEMENTS = 400
"""Shapes of one figure, marks and letters included; with one shape a trial it would be 1,000."""


def many_trials() -> tuple[PlantedTrial, ...]:
    first = planted_trials()[0]
    states = ("complete", "pruned", "complete")
    return tuple(
        replace(
            first,
            number=number,
            num_epochs=1 + number % 3,
            state=states[number % 3],
            score=0.4 + (number * 37 % NUM_TRIALS) / 2500,
            params={**first.params, "optimizer.weight_decay": number / 4000, "seed": number},
        )
        for number in range(NUM_TRIALS)
    )


def colours(svg: bytes) -> set[bytes]:
    return set(re.findall(rb"#[0-9a-f]{6}\b", svg))


def without_names(svg: bytes) -> bytes:
    """Return a drawing without the names of its parts, which matplotlib makes from colours too."""
    return re.sub(rb"\b[mpC][0-9a-f]+_?[0-9a-f]{6,}\b", b"name", svg)


@pytest.mark.parametrize("name", ["learning", "confusion", "parallel", "timeline", "calibration"])
def test_dark_figures_are_the_light_ones_in_other_colours(name: str, tmp_path: Path) -> None:
    study = view_study(write_study(tmp_path / "planted"))
    _, make = study_figures(study, importance={}, by_method={})[name]
    (light,), (dark,) = render(make, LIGHT, "svg"), render(make, DARK, "svg")
    restyled = darkened(light)
    assert restyled is not None
    assert without_names(restyled) == without_names(dark)
    assert colours(restyled) <= {ink.encode() for ink in DARK.inks}


def test_no_ink_of_light_ground_has_two_meanings() -> None:
    pairs = set(zip(LIGHT.inks, DARK.inks, strict=True))
    assert len(pairs) == len({light for light, _ in pairs})


def test_pixels_are_not_restyled() -> None:
    assert darkened(b'<svg><image xlink:href="#1c1d1f"/></svg>') is None


def test_a_bar_of_the_timeline_has_the_length_of_its_trial() -> None:
    (svg,) = render(
        lambda theme: draw_timeline(theme, rows=[(0.0, 30.0, "complete"), (30.0, 60.0, "failed")]),
        LIGHT,
        "svg",
    )
    spans = {}
    for ink in (LIGHT.best, LIGHT.floor):
        path = re.search(rb'<path d="([^"]*)"[^>]*style="fill: ' + ink.encode(), svg)
        assert path is not None
        across = [float(x) for x in re.findall(rb"[ML] ([\d.]+) ", path[1])]
        spans[ink] = max(across) - min(across)
    assert spans[LIGHT.floor] == pytest.approx(2 * spans[LIGHT.best], rel=1e-3)


def test_of_many_learning_curves_some_are_shown_from_the_lowest_to_the_highest() -> None:
    curves = [epochs_of(trial) for trial in many_trials()[: MAX_SHOWN * 2 + 7]]
    shown = [records[-1].score.value for records in evenly_ranked(curves)]
    every = sorted(records[-1].score.value for records in curves)
    assert len(shown) == MAX_SHOWN
    assert (shown[0], shown[-1]) == (every[0], every[-1])
    assert len(evenly_ranked(curves[:5])) == 5


@pytest.mark.slow
def test_a_page_of_a_thousand_trials_is_small_and_its_figures_have_few_elements(
    tmp_path: Path,
) -> None:
    study = view_study(write_study(tmp_path / "many", trials=many_trials()))
    shares = shares_of(study)
    assert f"Shapley explains {MAX_EXPLAINED} of them" in " ".join(shares.notes)
    makers = study_figures(study, importance=shares.first, by_method=shares.by_method)
    pictures = write_pictures(makers, tmp_path / "figures")
    assert {"learning", "parallel", "slices", "timeline", "importance"} <= pictures.keys()
    for path in (tmp_path / "figures").glob("*.svg"):
        drawn = re.findall(rb"<(?:use|rect|circle|image)\b|<path[^>]*style=", path.read_bytes())
        assert len(drawn) < MAX_ELEMENTS, path.name
    page = page_text(study, shares=shares, pictures=pictures, brain=PipelineSlices(reason="-"))
    assert len(page.encode()) < MAX_PAGE_BYTES
