"""Names from a server: what may become a file, what is refused, what a filter lets through."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.download.config import Filters
from spectrum.data.download.known import KNOWN_DATASETS, known_files
from spectrum.data.download.names import refuse_clashing, refuse_unsafe
from spectrum.data.download.selection import is_wanted, values_of
from spectrum.data.download.service import DownloadResult
from spectrum.errors import DownloadError
from tests.s3_server import ObjectStore

UNSAFE = [
    "../README",
    "sub-01/../../README",
    "/etc/passwd",
    "sub-01//func/x.json",
    "sub-01/./x.json",
    "..\\README",
    "sub-01\\func",
    "C:/README",
    "x\x00.json",
    "x\n.json",
    "",
    ".",
    "a" * 256,
    "/".join(["a" * 200] * 6),
    ".git/hooks/post-checkout",
    "sub-01/.GIT/config",
    ".spectrum-download/lock",
    "download.json",
    "Download.JSON",
    "x\ud800",
]


@pytest.mark.parametrize("path", UNSAFE, ids=ascii)
def test_a_name_that_must_not_become_a_file_is_refused_with_its_reason(path: str) -> None:
    refused = refuse_unsafe([path, "README"])
    assert [(problem.code, problem.path) for problem in refused] == [("unsafe-name", path)]
    assert len(refused[0].message) < 250
    refused[0].message.encode("ascii")


def test_no_name_of_the_four_data_sets_is_refused() -> None:
    for known in KNOWN_DATASETS:
        paths = list(known_files(known.name))
        assert refuse_unsafe(paths) == refuse_clashing(paths) == []


@pytest.mark.parametrize(
    ("paths", "refused"),
    [
        (["README", "readme", "CHANGES"], {"README", "readme"}),
        (["caf\u00e9", "cafe\u0301"], {"caf\u00e9", "cafe\u0301"}),
        (["sub-01/a", "Sub-01/b", "sub-02/a"], {"sub-01/a", "Sub-01/b"}),
        (["a", "a/b", "c"], {"a", "a/b"}),
        (["stra\u00dfe", "STRASSE"], {"stra\u00dfe", "STRASSE"}),
        (["sub-01/a", "sub-01/b"], set()),
    ],
)
def test_names_that_are_one_on_some_disks_are_all_refused(
    paths: list[str], refused: set[str]
) -> None:
    assert {problem.path for problem in refuse_clashing(paths)} == refused


@given(st.lists(st.text(max_size=12), max_size=8, unique=True))
def test_what_is_not_refused_stays_inside_and_apart(paths: list[str]) -> None:
    unsafe = {problem.path for problem in refuse_unsafe(paths)}
    sound = [path for path in paths if path not in unsafe]
    clashing = {problem.path for problem in refuse_clashing(sound)}
    kept = [path for path in sound if path not in clashing]
    root = Path("/root-of-all")
    for path in kept:
        assert Path.joinpath(root, path).is_relative_to(root)
        assert ".." not in path.split("/")
    assert len({unicodedata.normalize("NFC", path).casefold() for path in kept}) == len(kept)


def test_unsafe_names_of_a_listing_are_named_and_the_rest_arrives(
    fetch: Callable[..., DownloadResult],
    dataset: Mapping[str, bytes],
    store: ObjectStore,
    tmp_path: Path,
) -> None:
    store.put("ds000900", {"../evil.json": b"{}", "readme": b"other", "a\\b.json": b"{}"})
    result = fetch()
    assert {(p.code, p.path) for p in result.refused} == {
        ("unsafe-name", path) for path in ("../evil.json", "README", "readme", "a\\b.json")
    }
    assert not list(tmp_path.rglob("evil*"))
    assert {path.name for path in tmp_path.iterdir()} == {"raw"}
    assert len(result.records) == len([p for p in dataset if "/anat/" not in p]) - 1


@pytest.mark.parametrize("link", ["sub-01", "sub-01/func", "README"])
def test_a_link_in_the_way_is_refused_and_nothing_lands_behind_it(
    fetch: Callable[..., DownloadResult],
    dataset: Mapping[str, bytes],
    tmp_path: Path,
    link: str,
) -> None:
    elsewhere = _linked(tmp_path, link)
    behind = {p for p in dataset if p.startswith(link) and "/anat/" not in p}
    refused = {(problem.code, problem.path) for problem in fetch().refused}
    assert refused == {("unsafe-name", path) for path in behind}
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_place_of_the_state_folder_stops_everything(
    fetch: Callable[..., DownloadResult], dataset: Mapping[str, bytes], tmp_path: Path
) -> None:
    elsewhere = _linked(tmp_path, ".spectrum-download")
    with pytest.raises(DownloadError, match="is a link") as caught:
        fetch()
    assert caught.value.code == "unsafe-name"
    assert list(elsewhere.iterdir()) == []


def _linked(tmp_path: Path, link: str) -> Path:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    at = tmp_path / "raw/ds000900" / link
    at.parent.mkdir(parents=True)
    at.symlink_to(elsewhere)
    return elsewhere


PATHS = [
    "README",
    "task-a_bold.json",
    "task-b_events.json",
    "participants.tsv",
    "sub-1/ses-x/func/sub-1_ses-x_task-a_run-01_bold.nii.gz",
    "sub-1/ses-x/func/sub-1_ses-x_task-a_run-01_events.tsv",
    "sub-1/ses-y/func/sub-1_ses-y_task-a_run-2_bold.nii.gz",
    "sub-1/ses-x/func/sub-1_ses-x_task-b_bold.nii.gz",
    "sub-1/ses-x/func/sub-1_ses-x_task-b_events.tsv",
    "sub-1/ses-x/anat/sub-1_ses-x_T1w.nii.gz",
    "sub-01/func/sub-01_task-a_run-1_bold.nii.gz",
    "sub-10/sub-10_scans.tsv",
    "derivatives/mriqc/sub-1/func/sub-1_task-a_bold.html",
    "sourcedata/sub-1/func/sub-1_task-a_bold.nii.gz",
]


def _wanted(**filters: object) -> list[int]:
    values = values_of(PATHS)
    chosen = Filters.model_validate(filters)
    return [n for n, path in enumerate(PATHS) if is_wanted(path, chosen, values)]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11]),
        ({"everything": True}, list(range(14))),
        ({"subject": ("1",)}, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ({"subject": ("sub-01",)}, [0, 1, 2, 3, 10]),
        ({"subject": ("001",)}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]),
        ({"subject": ("1", "10")}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 11]),
        ({"run": ("1",)}, [0, 1, 2, 3, 4, 5, 10, 11]),
        ({"run": ("run-02",)}, [0, 1, 2, 3, 6, 11]),
        ({"task": ("b",)}, [0, 2, 3, 7, 8, 11]),
        ({"session": ("ses-y",)}, [0, 1, 2, 3, 6, 11]),
        ({"subject": ("1",), "everything": True}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13]),
    ],
)
def test_a_filter_keeps_what_it_names_and_what_applies_to_everything(
    filters: dict[str, object], wanted: list[int]
) -> None:
    assert _wanted(**filters) == wanted
