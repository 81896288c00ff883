"""Aim's own pages over a study, in a browser: what a reader types is found and drawn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spectrum.tracking import AimUi, open_ui, show_study
from tests.aim_pages import ask, columns, hide_invitation, show_page, wait_for_text
from tests.browser import CHROMIUM, Tab, open_tab
from tests.unit.report.planted_study import draw_slices, planted_trials, write_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to look at the page"),
]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AimUi]:
    repo = tmp_path_factory.mktemp("studies")
    study = write_study(repo / "planted")
    draw_slices(study)
    assert show_study(study).note == ""
    with open_ui(repo, port=0, block=False, show=lambda line: None) as running:
        yield running


@pytest.fixture(scope="module")
def tab(ui: AimUi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(f"{ui.url}/runs", tmp_path_factory.mktemp("profile"), width=1400) as tab:
        hide_invitation(tab)
        yield tab


def drawn(selector: str) -> str:
    """Return the expression of how many things of a kind the page shows."""
    return f"document.querySelectorAll({selector!r}).length"


def test_the_table_of_runs_shows_the_trials_with_their_hyperparameters(
    tab: Tab, ui: AimUi
) -> None:
    show_page(tab, ui.url, "runs")
    wait_for_text(tab, "trial 7")
    shown = columns(tab)
    assert {f"trial {trial.number}" for trial in planted_trials()} <= shown
    assert {"failed:oom", "best", "13sec"} <= shown
    assert {"optimizer.lr", "preprocessing.fwhm_mm"} <= {
        head.removeprefix("hparams.").removeprefix("searched.") for head in shown
    }


def test_trials_are_found_by_a_typed_hyperparameter(tab: Tab, ui: AimUi) -> None:
    show_page(tab, ui.url, "runs")
    wait_for_text(tab, "trial 7")
    ask(tab, "run.hparams.optimizer.lr > 1e-4", in_full=False)
    tab.wait("!document.body.innerText.includes('trial 1\\n')")
    wait_for_text(tab, "trial 2")


def test_a_typed_query_for_scores_draws_a_line_for_each_trial(tab: Tab, ui: AimUi) -> None:
    show_page(tab, ui.url, "metrics")
    ask(tab, 'metric.name == "score" and "dataset" not in metric.context', in_full=True)
    tab.wait(f"{drawn('path.Line')} > 0")
    # A trial of one epoch is a point.
    assert tab.value(drawn("path.Line")) in (len(planted_trials()) - 1, len(planted_trials()))


def test_a_typed_query_by_role_draws_the_folds_of_the_selected_trial(tab: Tab, ui: AimUi) -> None:
    show_page(tab, ui.url, "metrics")
    query = 'metric.name == "loss" and metric.context.role == "validation" and "best" in run.tags'
    ask(tab, query, in_full=True)
    tab.wait(f"{drawn('path.Line')} == 4")


def test_a_typed_query_for_slices_shows_pictures(tab: Tab, ui: AimUi) -> None:
    show_page(tab, ui.url, "images")
    ask(tab, 'images.name == "brain slices" and "study" in run.tags', in_full=True)
    pictures = "[...document.images].filter(i => i.src.startsWith('data:') && i.naturalWidth > 9)"
    tab.wait(f"{pictures}.length == 2")
    wait_for_text(tab, "brain-1")


def test_the_figures_of_a_study_are_drawn(tab: Tab, ui: AimUi) -> None:
    show_page(tab, ui.url, "figures")
    ask(tab, '"study" in run.tags', in_full=True)
    tab.wait(f"{drawn('.js-plotly-plot')} == 2")
    wait_for_text(tab, "parallel coordinates")
    tab.wait("document.body.textContent.includes('trial 3 (selected)')")
