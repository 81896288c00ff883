from __future__ import annotations

import ast
import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from spectrum.errors import SearchError
from spectrum.report import write_report
from spectrum.report.gallery import study_figures
from spectrum.report.page import page_text
from spectrum.report.pipeline_slices import PipelineSlices
from spectrum.report.shares import Shares
from spectrum.search.space import read_space, space_from_mapping
from spectrum.search.view import view_study
from tests.unit.report.planted_study import (
    line_of,
    planted_trials,
    write_study,
    write_trial,
)

IMPORTANCE = {"optimizer.lr": 0.7, "preprocessing.fwhm_mm": 0.2, "model.patch_pooling": 0.1}
FIGURES = {
    "calibration",
    "confusion",
    "confusions",
    "sequences",
    "datasets",
    "importance",
    "learning",
    "losses",
    "parallel",
    "roc",
    "slices",
    "standing",
    "timeline",
}


class Page(HTMLParser):
    """What a page refers to, its text, and whether its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.alts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "input", "source", "wbr", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href"):
                self.addresses.append(value or "")
            if name == "alt":
                self.alts.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def html_of(folder: Path) -> str:
    """Return the page of a study without its figures, which take most of its time."""
    brain = PipelineSlices(reason="No shards.")
    return page_text(view_study(folder), shares=Shares(), pictures={}, brain=brain)


def figures_of(folder: Path) -> dict[str, str]:
    """Return the figures that a study has, undrawn: their descriptions by name."""
    figures = study_figures(view_study(folder), importance={}, by_method={})
    return {name: alt for name, (alt, _) in figures.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("studies") / "planted")
    write_report(folder, importance=IMPORTANCE)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report" / "index.html").read_text())


def test_the_page_loads_nothing_from_anywhere(page: Page) -> None:
    assert len(page.addresses) == 2 * len(FIGURES)
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)


def test_every_tag_is_closed_and_every_figure_is_described(page: Page) -> None:
    assert page.open == []
    assert len(page.alts) == 2 * len(FIGURES)
    assert all(len(alt) > 20 for alt in page.alts)


def test_every_figure_is_there_as_png_and_svg(folder: Path) -> None:
    figures = folder / "report" / "figures"
    assert {path.name for path in figures.iterdir()} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.glob("*.png"))
    assert all(b"<svg" in path.read_bytes()[:2000] for path in figures.glob("*.svg"))


def test_the_page_sets_the_selected_score_beside_its_references(page: Page) -> None:
    assert "Trial 3 was selected" in page.text
    for number in ("0.780", "0.610", "0.640", "0.500"):
        assert number in page.text
    assert "Acquisition numbers alone score 0.640; a model must beat that." in page.text


def test_the_page_names_failures_versions_and_the_search_space(page: Page) -> None:
    assert "out-of-memory: CUDA ran out of memory." in page.text
    assert "0123456789abcdef" in page.text
    assert "2.15.0" in page.text
    assert "log_uniform: [1.0e-05, 0.01]" in page.text


def test_the_page_names_refused_runs(page: Page) -> None:
    assert "1 problem was found in the data" in page.text
    assert "The run has 3 volumes; a sequence needs 8." in page.text


def test_the_search_space_on_the_page_can_be_searched_again(folder: Path, tmp_path: Path) -> None:
    space = json.loads((folder / "study.json").read_text())["space"]
    text = (folder / "report" / "index.html").read_text()
    listing = html.unescape(re.findall(r"<pre><code>(.*?)</code></pre>", text, re.DOTALL)[-1])
    (tmp_path / "space.yaml").write_text(listing)
    assert read_space(tmp_path / "space.yaml") == space_from_mapping(space)


def test_the_same_study_makes_the_same_page(folder: Path, tmp_path: Path) -> None:
    again = shutil.copytree(folder, tmp_path / "planted")
    before = (folder / "report" / "index.html").read_bytes()
    assert write_report(again, importance=IMPORTANCE).read_bytes() == before


def test_only_the_report_folder_is_written_and_without_a_journal_importance_is_absent(
    tmp_path: Path,
) -> None:
    folder = write_study(tmp_path / "planted", trials=planted_trials()[:2])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    text = Page(write_report(folder).read_text()).text
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    new = {path.relative_to(folder).parts[0] for path in after.keys() - before.keys()}
    assert new == {"report"}
    assert "Importance of parameters is not shown: too few trials finished" in text
    assert not (folder / "report" / "figures" / "importance.svg").exists()


def test_a_single_trial_is_compared_with_no_other(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "one", trials=planted_trials()[:1])
    page = Page(html_of(folder))
    assert page.open == []
    assert "It is the only finished trial, so that nothing was compared." in page.text
    figures = figures_of(folder).keys()
    assert figures.isdisjoint({"importance", "parallel", "timeline"})
    assert {"roc", "calibration", "standing"} <= figures


def test_a_study_in_which_every_trial_was_stopped_early_says_so(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "pruned", trials=planted_trials()[6:7])
    page = Page(html_of(folder))
    assert page.open == []
    assert "Every trial was stopped early, so that nothing was selected" in page.text
    assert figures_of(folder).keys().isdisjoint({"standing", "roc", "parallel"})


def test_a_study_in_which_every_trial_failed_tells_why(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "planted", trials=planted_trials()[7:])
    page = Page(html_of(folder))
    assert "Of 1 trial, 0 finished and 1 failed. Every trial failed" in page.text
    assert "CUDA ran out of memory" in page.text
    assert "was selected:" not in page.text


def test_single_sequences_have_their_own_tables_over_all_and_of_each_data_set(
    folder: Path,
) -> None:
    told = figures_of(folder)["sequences"]
    assert told.startswith("Confusion tables of single sequences over early, late: {'all': ")
    tables = ast.literal_eval(told.partition("late: ")[2].rstrip("."))
    parts = [np.array(table) for name, table in tables.items() if name != "all"]
    assert len(parts) > 1
    assert np.array_equal(sum(parts), tables["all"])
    assert np.array(tables["all"]).sum() == 10 * len(view_study(folder).predictions_of(0))


def test_without_confusion_in_the_line_it_comes_from_the_predictions(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "planted", trials=planted_trials()[3:4])
    line = {**line_of(planted_trials()[3]), "metrics": {}}
    (folder / "trials.jsonl").write_text(json.dumps(line) + "\n")
    assert figures_of(folder)["confusion"] == "Confusion table over early, late: [[9, 3], [3, 9]]."


def test_names_from_a_study_are_text_and_never_markup(tmp_path: Path) -> None:
    trial = replace(
        planted_trials()[7], error={"kind": "<script>alert(1)</script>", "message": "<b>no</b>"}
    )
    folder = write_study(tmp_path / "planted", trials=(planted_trials()[0], trial))
    text = html_of(folder)
    assert "<script" not in text
    assert "<b>no" not in text
    assert "&lt;script&gt;" in text


def test_trials_that_have_no_row_are_counted(tmp_path: Path) -> None:
    first = planted_trials()[0]
    trials = tuple(
        replace(
            first,
            number=number,
            num_epochs=2,
            score=0.5 + number / 1000,
            params={**first.params, "optimizer.weight_decay": number / 400, "seed": number},
        )
        for number in range(207)
    )
    folder = write_study(tmp_path / "many", trials=trials)
    page = Page(html_of(folder))
    assert "7 further trials are in trials.jsonl" in page.text


def test_a_study_without_an_ended_trial_is_one_clear_sentence(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "planted", trials=())
    write_trial(folder, planted_trials()[0])
    with pytest.raises(SearchError, match="no trial that ended"):
        write_report(folder)


def test_a_folder_that_is_no_study_is_one_clear_sentence(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SearchError, match=re.escape(f"{folder} holds no study")):
            write_report(folder)


def test_without_its_shards_the_page_says_so_and_how_to_find_them(page: Page) -> None:
    assert "Brain slices through the pipeline" in page.text
    assert "does not say which shard set" in page.text


def test_a_score_of_an_unmasked_recipe_is_labelled_wherever_it_stands(tmp_path: Path) -> None:
    trials = [
        replace(trial, params={**trial.params, "preprocessing.brain_mask": trial.number > 3})
        for trial in planted_trials()[:6]
    ]
    folder = write_study(tmp_path / "planted", trials=tuple(trials))
    html_text = html_of(folder)
    text = Page(html_text).text
    assert "Trial 3 (unmasked) was selected" in text
    assert "the default configuration (unmasked) scores" in text
    assert "The selected trial. Unmasked recipe" in text
    assert "The default configuration. Unmasked recipe" in text
    rows = re.findall(r"<tr.*?</tr>", html_text, re.DOTALL)
    labelled = {
        int(found[1])
        for row in rows
        if (found := re.search(r'<th scope="row" class="num">(\d+)</th>', row))
        and "unmasked</span>" in row
    }
    assert labelled == {0, 1, 2, 3}


def test_a_masked_study_says_nothing_of_masks(page: Page) -> None:
    assert "nmasked" not in page.text
