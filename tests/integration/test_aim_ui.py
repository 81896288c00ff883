"""The Aim UI on a small repository: it answers, and finds trials by hyperparameter."""

from __future__ import annotations

import socket
import struct
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from spectrum.errors import ConfigError, SearchError
from spectrum.tracking import AimUi, example_queries, open_ui, show_study
from tests.unit.report.planted_study import draw_slices, line_of, planted_trials, write_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, told: list[str]) -> Iterator[AimUi]:
    repo = tmp_path_factory.mktemp("studies")
    study = write_study(repo / "planted", trials=planted_trials()[:3])
    draw_slices(study)
    assert show_study(study).note == ""
    with open_ui(repo, port=0, block=False, show=told.append) as running:
        yield running


def search(ui: AimUi, query: str, *, explorer: str = "Runs") -> dict[str, Any]:
    """Ask the UI's own search, and decode its answer as its page does."""
    from aim.storage.treeutils import decode_tree

    kind = {"Runs": "run", "Metrics": "metric"}.get(explorer, explorer.lower())
    question = urllib.parse.urlencode({"q": query, "report_progress": "false"})
    address = f"{ui.url}/api/runs/search/{kind}/?{question}"
    with urllib.request.urlopen(address, timeout=60) as answer:
        stream = answer.read()
    return decode_tree(pairs(stream)) if stream else {}


def pairs(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    parts = []
    while stream:
        (size,) = struct.unpack_from("<I", stream)
        parts.append(stream[4 : 4 + size])
        stream = stream[4 + size :]
    return iter(list(zip(parts[::2], parts[1::2], strict=True)))


def names(runs: dict[str, Any]) -> list[str]:
    return sorted(run["props"]["name"] for run in runs.values())


def test_the_page_answers_and_its_address_was_told(ui: AimUi, told: list[str]) -> None:
    with urllib.request.urlopen(ui.url, timeout=60) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read().lower()
    assert any(ui.url in line for line in told)
    assert all(any(query in line for line in told) for query, _ in example_queries())


def printed_queries(told: list[str]) -> list[tuple[str, str]]:
    """Return each query that was printed, with the explorer that is named before it."""
    first = next(place for place, line in enumerate(told) if line.startswith("Queries"))
    lines = [line.split("\n") for line in told[first + 1 : -1]]
    return [(query.strip(), meaning.rstrip(":").rpartition(" in ")[2]) for meaning, query in lines]


def test_every_query_that_is_printed_finds_something(ui: AimUi, told: list[str]) -> None:
    asked = printed_queries(told)
    assert {explorer for _, explorer in asked} == {"Runs", "Metrics", "Figures", "Images"}
    nothing = [query for query, explorer in asked if not search(ui, query, explorer=explorer)]
    assert nothing == []


def test_a_score_curve_is_one_line_a_trial(ui: AimUi, told: list[str]) -> None:
    (query,) = [query for query, _ in printed_queries(told) if "not in metric.context" in query]
    runs = search(ui, query, explorer="Metrics")
    assert [len(run["traces"]) for run in runs.values()] == [1, 1, 1]


def test_a_trial_has_its_own_date_and_duration_and_is_described(ui: AimUi) -> None:
    runs = {run["props"]["name"]: run["props"] for run in search(ui, "").values()}
    for trial in planted_trials()[:3]:
        line, told = line_of(trial), runs[f"trial {trial.number}"]
        begun = datetime.fromisoformat(line["started"]).timestamp()
        assert (told["creation_time"], told["end_time"]) == (begun, begun + line["seconds"])
    assert runs["trial 2"]["description"] == "patch_pooling attention, lr 0.0003, fwhm_mm 4"
    assert runs["study"]["description"] == "A planted study."


def test_a_search_by_hyperparameter_finds_exactly_the_right_trials(ui: AimUi) -> None:
    expected = {
        f"trial {t.number}" for t in planted_trials()[:3] if t.params["optimizer.lr"] > 1e-4
    }
    assert len(expected) == 2
    assert names(search(ui, "run.hparams.optimizer.lr > 1e-4")) == sorted(expected)
    assert names(search(ui, "run.hparams.optimizer.lr > 1")) == []


def test_a_search_against_the_floor_finds_the_trials_above_it(ui: AimUi) -> None:
    assert names(search(ui, example_queries()[0][0])) == ["trial 2"]


def test_the_answer_holds_the_whole_configuration(ui: AimUi) -> None:
    (run,) = search(ui, "run.hparams.preprocessing.fwhm_mm == 4").values()
    assert run["params"]["hparams"] == planted_trials()[2].config
    assert run["props"]["experiment"]["name"] == "planted"


def test_the_ui_listens_on_this_machine_alone(ui: AimUi) -> None:
    port = int(ui.url.rpartition(":")[2])
    listening = {
        c.laddr.ip for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


def test_the_port_of_a_running_ui_is_refused(ui: AimUi, tmp_path: Path) -> None:
    (tmp_path / ".aim").mkdir()
    with pytest.raises(ConfigError, match="taken"):
        open_ui(tmp_path, port=int(ui.url.rpartition(":")[2]), block=False)


def test_a_folder_without_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no Aim repository"):
        open_ui(tmp_path, port=0, block=False)


def test_closing_ends_every_process(tmp_path: Path) -> None:
    study = write_study(tmp_path / "planted", trials=planted_trials()[:1])
    assert show_study(study).note == ""
    ui = open_ui(tmp_path, port=0, block=False, show=lambda line: None)
    port = int(ui.url.rpartition(":")[2])
    before = [p for p in psutil.Process().children(recursive=True) if p.is_running()]
    assert before
    ui.close()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    assert not Path(f"/proc/{ui._process.pid}").exists()
