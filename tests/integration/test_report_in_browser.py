"""The report, opened from disk in a browser that has no network: whole, quiet, on any width."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from spectrum.report import write_report
from tests.browser import CHROMIUM, Tab, open_tab
from tests.pdf_words import num_pages, squeezed, words
from tests.unit.report.planted_study import planted_trials, write_study
from tests.unit.report.test_report_page import IMPORTANCE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to look at the page"),
]

A4_WITHIN_MARGINS = 673
"""CSS pixels: 178 mm."""

LONG = "a_name_of_a_cause_that_has_no_place_where_it_could_be_broken_" * 3
BROKEN = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    *trials, failed = planted_trials()
    failed = replace(failed, error={"kind": "error", "message": LONG})
    folder = write_study(tmp_path_factory.mktemp("studies") / "planted", trials=(*trials, failed))
    return write_report(folder, importance=IMPORTANCE)


@pytest.fixture(scope="module")
def tab(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab("about:blank#start", tmp_path_factory.mktemp("profile")) as tab:
        offline = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        tab.call("Network.emulateNetworkConditions", offline=True, **offline)
        tab.call("Page.navigate", url=page.as_uri())
        tab.wait("document.readyState == 'complete' && location.protocol == 'file:'")
        yield tab


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_broken_and_nothing_hangs_over_the_edge(tab: Tab, width: int) -> None:
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    tab.call("Emulation.setEmulatedMedia", media="screen")
    tab.call("Emulation.setDeviceMetricsOverride", **screen)
    tab.wait(f"innerWidth == {width}")
    assert tab.value("document.images.length") > 5
    assert tab.value(BROKEN) == 0
    assert tab.value(OVERFLOW) == 0


def test_the_browser_has_nothing_to_complain_of_and_asks_no_server(tab: Tab, page: Path) -> None:
    tab.value("1")
    kinds = {event["method"] for event in tab.events}
    told = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert kinds.isdisjoint(told), [e for e in tab.events if e["method"] in told]
    asked = [
        event["params"]["request"]["url"]
        for event in tab.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in asked
    assert all(url.startswith(("data:", "file:", "about:")) for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_figures_are_on_the_ground_that_the_reader_prefers(
    tab: Tab, tmp_path: Path, scheme: str
) -> None:
    wanted = [{"name": "prefers-color-scheme", "value": scheme}]
    tab.call("Emulation.setEmulatedMedia", media="screen", features=wanted)
    tab.wait(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
    tab.wait("[...document.images].every(image => image.complete)")
    tab.picture(tmp_path / "page.png")
    pixels = imread(tmp_path / "page.png")[..., :3].mean(axis=2)
    ground = pixels[5, 5]
    assert ground > 0.9 if scheme == "light" else ground < 0.15
    assert (np.abs(pixels - ground) > 0.3).mean() > 0.01
    opposite = pixels > 0.97 if scheme == "dark" else pixels < 0.1
    assert opposite.mean() < 0.05


def on_paper(tab: Tab) -> None:
    """Show the page as it is printed, to a reader who prefers dark ground."""
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    paper = {"width": A4_WITHIN_MARGINS, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    tab.call("Emulation.setDeviceMetricsOverride", **paper)
    tab.call("Emulation.setEmulatedMedia", media="print", features=dark)
    tab.wait("matchMedia('print').matches")


def test_on_paper_figures_are_on_light_ground_and_nothing_hangs_over_the_edge(tab: Tab) -> None:
    on_paper(tab)
    assert tab.value(OVERFLOW) == 0
    seen = "[...document.images].filter(i => i.offsetWidth).map(i => i.className)"
    assert set(tab.value(seen)) == {"on-light"}


def test_on_paper_no_table_is_wider_than_the_page_and_what_was_closed_is_open(tab: Tab) -> None:
    on_paper(tab)
    edges = "[...document.querySelectorAll('table')].map(t => t.getBoundingClientRect())"
    widths = tab.value(f"{edges}.map(box => [box.left, box.right])")
    assert len(widths) > 3
    assert all(0 <= left < right <= A4_WITHIN_MARGINS for left, right in widths)
    heights = "[...document.querySelectorAll('details table')].map(t => t.checkVisibility())"
    assert tab.value(heights) == [True]


def test_the_pdf_is_on_white_and_has_the_words_of_the_page_from_first_to_last(tab: Tab) -> None:
    on_paper(tab)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert tab.value(ground) == "rgb(255, 255, 255)"
    told = tab.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    pdf = base64.b64decode(told["data"])
    assert 3 <= num_pages(pdf) <= 30
    found = words(pdf)
    parts = "document.querySelectorAll('.summary, details tbody tr, footer p')"
    written = tab.value(f"[...{parts}].map(part => part.innerText)")
    assert len(written) > 50
    assert [part for part in written if squeezed(part) not in found] == []
