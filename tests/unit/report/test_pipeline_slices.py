from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum.report import write_report
from spectrum.report.page import page_text
from spectrum.report.pipeline_slices import (
    MAX_DATASETS,
    chosen_runs,
    datasets_left_out,
    pipeline_slices,
)
from spectrum.report.shares import Shares
from spectrum.search.folder import StudyFolder
from spectrum.search.view import view_study
from tests.unit.report.planted_shards import plant_shards
from tests.unit.report.planted_study import planted_trials, write_study
from tests.unit.report.test_report_page import Page
from tests.unit.report.test_run_facts import a_run, named


def test_the_worst_and_the_median_run_of_each_data_set_are_shown() -> None:
    runs = [
        a_run(number, dataset, quality={"fd_mean": value})
        for dataset, values in (("ds1", (0.3, 0.1, 0.2, 0.9, 0.5)), ("ds2", (0.4,)))
        for number, value in enumerate(values)
    ]
    found = {str(run.key): why for run, why in chosen_runs(runs)}
    assert list(found) == [named(3), named(0), named(0, "ds2")]
    assert "highest mean framewise displacement in ds1, 0.90 mm" in found[named(3)]
    assert "median" in found[named(0)]


def page_of(folder: Path, shards_root: Path) -> Page:
    """Return the page of a study with its slices and without its figures."""
    study = view_study(folder)
    slices = pipeline_slices(study, [shards_root])
    return Page(page_text(study, shares=Shares(), pictures={}, brain=slices))


@pytest.mark.parametrize("more", [-1, 0, 3])
def test_every_data_set_is_either_shown_or_named_as_left_out(more: int) -> None:
    names = [f"ds{number:02}" for number in range(MAX_DATASETS + more)]
    runs = [a_run(number, name) for name in names for number in range(3)]
    shown = list(dict.fromkeys(run.dataset for run, _ in chosen_runs(runs)))
    assert [*shown, *datasets_left_out(runs)] == names
    assert len(datasets_left_out(runs)) == max(more, 0)


def test_a_page_names_the_data_sets_that_it_has_no_room_for(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    names = [f"ds{number:06}" for number in range(1, MAX_DATASETS + 3)]
    roots = [tiny_bids(name, {("01", "nback", "01"): 11}) for name in names]
    shards, _ = plant_shards(roots, tmp_path / "shards")
    folder = write_study(tmp_path / "studies" / "planted", trials=planted_trials()[:1])
    manifest = dict(StudyFolder(folder).read_manifest())
    manifest["data"] = {"content": shards.manifest.content_hash}
    manifest.pop("digest", None)
    StudyFolder(folder).write_manifest(manifest)
    text = page_of(folder, tmp_path / "shards").text
    assert f"Not shown for want of room: {', '.join(names[-2:])}." in text


def test_where_motion_is_not_known_of_all_dvars_stands_for_it() -> None:
    runs = [
        a_run(1, quality={"fd_mean": 0.9, "dvars_mean": 1.0}),
        a_run(2, quality={"fd_mean": None, "dvars_mean": 3.0}),
    ]
    assert (
        "highest mean DVARS in ds1, 3.00 %"
        in dict((str(run.key), why) for run, why in chosen_runs(runs))[named(2)]
    )


def test_a_study_beside_its_shards_shows_slices_and_one_without_says_so(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    runs = {("01", "nback", "01"): 11, ("01", "nback", "02"): 13}
    shards, _ = plant_shards([tiny_bids(runs=runs)], tmp_path / "shards")
    folder = write_study(tmp_path / "studies" / "planted", trials=planted_trials()[:2])
    manifest = dict(StudyFolder(folder).read_manifest())
    manifest["data"] = {"content": shards.manifest.content_hash}
    manifest.pop("digest", None)
    StudyFolder(folder).write_manifest(manifest)
    page = Page(write_report(folder, importance={}).read_text())
    pictures = [address for address in page.addresses if address.startswith("data:image/webp")]
    assert len(pictures) == 4
    assert (
        sum(path.name.startswith("brain-") for path in (folder / "report/figures").iterdir()) == 2
    )
    shards.path.rename(tmp_path / "elsewhere")
    text = page_of(folder, tmp_path / "shards").text
    assert "The shards of this study are not here" in text
    moved = tmp_path / "moved"
    moved.mkdir()
    (tmp_path / "elsewhere").rename(moved / shards.path.name)
    shown = page_of(folder, moved)
    assert "not where it was when the shards were made" not in shown.text
    assert sum("webp" in address[:30] for address in shown.addresses) == 4


def test_a_damaged_set_costs_the_section_and_no_more(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    shards, _ = plant_shards([tiny_bids()], tmp_path / "shards")
    folder = write_study(tmp_path / "studies" / "planted", trials=planted_trials()[:1])
    manifest = dict(StudyFolder(folder).read_manifest())
    manifest["data"] = {"content": shards.manifest.content_hash}
    manifest.pop("digest", None)
    StudyFolder(folder).write_manifest(manifest)
    for file in shards.path.glob("*.parquet"):
        file.write_bytes(b"PAR1" * 9)
    text = page_of(folder, tmp_path / "shards").text
    assert "The shards of this study cannot be read" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "does not say which shard set"), (7, "are not here"), ("", "does not say which")],
)
def test_a_study_that_names_no_content_makes_a_page(
    content: object, told: str, tmp_path: Path
) -> None:
    folder = write_study(tmp_path / "planted", trials=planted_trials()[:1])
    manifest = json.loads((folder / "study.json").read_text())
    assert manifest["data"].get("content") is None
    manifest["data"]["content"] = content
    manifest.pop("digest", None)
    StudyFolder(folder).write_manifest(manifest)
    assert told in page_of(folder, tmp_path).text
