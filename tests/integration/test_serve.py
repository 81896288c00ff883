"""``spectrum serve`` in a browser: a good image, a broken one, one that is too large."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectrum.config import TrialConfig, set_paths
from spectrum.search.exporting import export_model
from spectrum.search.single import train_single
from tests.browser import CHROMIUM, Tab, open_tab
from tests.tiny_bids import TASK, write_tiny_bids

pytestmark = [pytest.mark.slow, pytest.mark.ray]

RUNS = {(f"0{s}", TASK, f"0{r}"): 16 + s for s in (1, 2) for r in (1, 2)}
SMALL = {
    "folds.scheme": "leave-one-subject-out",
    "preprocessing.voxel_mm": 20.0,
    "preprocessing.high_pass_hz": 0.0,
    "sequences.num_volumes": 3,
    "sequences.stride": 3,
    "model.embed_dim": 8,
    "model.depth": 1,
    "model.patch_size": 4,
    "training.num_epochs": 1,
    "training.min_steps_per_epoch": 1,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    train_single(
        TrialConfig.model_validate(set_paths({}, SMALL)),
        [write_tiny_bids(folder / "ds000002", RUNS)],
        shards_root=folder / "shards",
        out=folder / "trained",
        on_epoch=lambda epoch: None,
    )
    return export_model(folder / "trained", folder / "model").path


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    command = [sys.executable, "-c", "from spectrum.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, str(model), "--port", "0", "--max-mib", "1", "--cpus", "2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGINT)
    process.wait(60)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_tiny_bids(tmp_path_factory.mktemp("new") / "site", {("9", "rest", "1"): 17})
    (found,) = root.rglob("*_bold.nii*")
    return found


@pytest.fixture
def tab(url: str, tmp_path: Path) -> Iterator[Tab]:
    """The page; afterwards nothing was loaded from elsewhere, failed, or left behind."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium to look at the page")
    with open_tab(url, tmp_path / "profile") as opened:
        yield opened
        if keep := os.environ.get("SPECTRUM_KEEP_PICTURES"):
            opened.picture(Path(keep) / f"{tmp_path.name}.png")
        asked = [e for e in opened.events if e["method"] == "Network.requestWillBeSent"]
        addresses = {event["params"]["request"]["url"].split(",")[0] for event in asked}
        own = {f"{url}/", f"{url}/predict", f"{url}/favicon.ico"}
        assert {at for at in addresses if not at.startswith("data:")} <= own
        assert [e for e in opened.events if e["method"] == "Runtime.exceptionThrown"] == []
    assert list(Path(tempfile.gettempdir()).glob("spectrum-serve-*")) == []


def _ask(tab: Tab, image: Path) -> None:
    tab.choose("#image", image)
    tab.wait("!document.getElementById('go').disabled")
    tab.value("document.getElementById('go').click()")
    tab.wait("document.getElementById('state').textContent == ''")


def test_a_good_image_gets_probabilities_slices_and_a_statement(tab: Tab, image: Path) -> None:
    assert "The model scored" in tab.value("document.body.innerText")
    _ask(tab, image)
    tab.wait("document.getElementById('picture').complete")
    cells = "[...document.querySelectorAll('#classes td.number')].map(c => +c.textContent)"
    probabilities = tab.value(cells)
    assert len(probabilities) == 2
    assert sum(probabilities) == pytest.approx(1.0, abs=0.002)
    assert tab.value("document.querySelectorAll('#chart circle').length") == 2 * 5
    assert tab.value("document.getElementById('picture').naturalWidth") > 300
    tab.wait("document.getElementById('map-picture').complete")
    assert tab.value("document.getElementById('map-picture').naturalWidth") > 300
    assert "weights that learned nothing" in tab.value(
        "document.getElementById('map-told').textContent"
    )
    assert "has not seen" in tab.value("document.getElementById('standing').textContent")


def test_a_broken_image_is_refused_by_name(tab: Tab, image: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(image.read_bytes()[:-200])
    _ask(tab, broken)
    assert "cannot be used" in tab.value("document.getElementById('error').textContent")
    assert tab.value("document.querySelectorAll('#problem-list li.error').length") >= 1
    told = tab.value("document.getElementById('problem-list').innerText")
    assert "bad-gzip" in told
    assert "ended before the end-of-stream marker" in told
    assert tab.value("document.getElementById('answer').hidden")
    assert "spectrum-serve-" not in tab.value("document.body.innerText")


def test_a_too_large_image_is_refused_before_it_is_sent(tab: Tab, tmp_path: Path) -> None:
    large = tmp_path / "large.nii"
    large.write_bytes(bytes(2 * 1024**2))
    tab.choose("#image", large)
    tab.wait("document.getElementById('error').textContent.includes('at most 1.0 MiB')")
    told = tab.value("document.getElementById('error').textContent")
    assert "has 2.0 MiB" in told
    assert "--max-mib" in told
    assert tab.value("document.getElementById('go').disabled")
    assert tab.value("document.getElementById('answer').hidden")
    sent = [e for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    assert not [e for e in sent if e["params"]["request"]["method"] == "POST"]
