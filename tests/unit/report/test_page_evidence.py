"""What the page shows of what was done after a search: re-runs, statement, maps, Pareto front."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from spectrum.report.gallery import study_figures
from spectrum.report.page import page_text
from spectrum.report.pipeline_slices import PipelineSlices
from spectrum.report.shares import Shares
from spectrum.report.statement_page import write_statement
from spectrum.report.theme import LIGHT, render
from spectrum.search.explaining import CHECKS_NAME
from spectrum.search.view import StudyView, view_study
from tests.unit.report.planted_study import write_study
from tests.unit.report.test_report_page import Page
from tests.unit.report.test_reruns import study_with_reruns
from tests.unit.report.test_statement import planted_view, state

PNG = base64.b64encode(b"\x89PNG of a map").decode()
CHECKS = {
    "space_told": "The maps lie on MNI152.",
    "methods": {
        "rollout": {
            "faithfulness": {
                "deletion": 0.31, "deletion_random": 0.52, "insertion": 0.71,
                "insertion_random": 0.49, "passed": True,
            },
            "randomised": {"rank_correlation": 0.93, "passed": False},
            "region": None,
        }
    },
}  # fmt: skip


def page_of(study: StudyView) -> Page:
    brain = PipelineSlices(reason="No shards.")
    page = Page(page_text(study, shares=Shares(), pictures={}, brain=brain))
    assert page.open == []
    return page


def with_objectives(study: StudyView, *, num_more: int = 1) -> StudyView:
    points = {
        line["number"]: {"score": line["score"]["value"], "seconds": 9.0 + line["number"]}
        | {f"objective_{more}": 1.0 for more in range(1, num_more)}
        for line in study.complete
    }
    lines = tuple({**line, "objectives": points.get(line["number"])} for line in study.lines)
    return replace(study, lines=lines, front=(3, 0))


def test_a_plain_study_has_none_of_these_sections(tmp_path: Path) -> None:
    study = view_study(write_study(tmp_path / "planted"))
    text = page_of(study).text
    for heading in ("run again", "What the model rests on", "Statement."):
        assert heading not in text
    assert "front" not in study_figures(study, importance={}, by_method={})


def test_trials_that_were_run_again_are_a_table_with_every_score(tmp_path: Path) -> None:
    text = page_of(study_with_reruns(tmp_path)).text
    assert "The best trials, run again" in text
    assert "0.700, 0.720" in text
    assert "0.550, 0.500 default" in text


def test_the_statement_is_its_conclusion_and_a_link(tmp_path: Path) -> None:
    study = planted_view(tmp_path / "study")
    write_statement(study.path, state(study, date="2026-01-05"))
    page = page_of(study)
    assert "By the conditions stated beforehand this is" in page.text
    assert "no longer the selected one" not in page.text
    (link,) = (address for address in page.addresses if not address.startswith("data:"))
    assert (study.path / "report" / link).resolve() == (study.path / "statement.html").resolve()
    assert (study.path / "statement.html").is_file()


def test_a_statement_of_another_trial_is_called_old(tmp_path: Path) -> None:
    study = planted_view(tmp_path / "study")
    write_statement(study.path, state(study, date="2026-01-05"))
    fewer = replace(study, lines=tuple(line for line in study.lines if line["number"] != 3))
    assert "It is of trial 3, which is no longer the selected one" in page_of(fewer).text


def test_attention_maps_are_embedded_and_a_failed_check_is_said(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "planted")
    maps = folder / "attention"
    maps.mkdir()
    (maps / CHECKS_NAME).write_text(json.dumps(CHECKS), encoding="utf-8")
    (maps / "attention.svg").write_bytes(b"<svg/>")
    assert "What the model rests on" not in page_of(view_study(folder)).text
    (maps / "attention.png").write_bytes(base64.b64decode(PNG))
    page = page_of(view_study(folder))
    assert f"data:image/png;base64,{PNG}" in page.addresses
    assert "deletion 0.31 (random order 0.52)" in page.text
    assert "fresh weights |rho| 0.93: FAILED" in page.text


@pytest.mark.parametrize("num_more", [1, 2])
def test_a_study_of_several_objectives_has_its_front_drawn_and_told(
    num_more: int, tmp_path: Path
) -> None:
    study = with_objectives(view_study(write_study(tmp_path / "planted")), num_more=num_more)
    alt, make = study_figures(study, importance={}, by_method={})["front"]
    assert alt.endswith("on the Pareto front: trials 3, 0.")
    assert "No other trial is better in all of score, seconds" in page_of(study).text
    (svg,) = render(make, LIGHT, "svg")
    for panel in range(1, num_more + 1):
        assert b'id="axes_%d"' % panel in svg
    assert b'id="axes_%d"' % (num_more + 1) not in svg
