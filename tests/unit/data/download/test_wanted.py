"""An interrupted download is no smaller one that is whole, whatever its list of wishes says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spectrum.data.download import DownloadRequest, World, verify
from spectrum.data.download.config import Filters
from spectrum.data.download.lock import locked
from spectrum.data.download.service import DownloadResult
from spectrum.data.download.wanted import forget_wanted, not_arrived, write_wanted
from spectrum.errors import DownloadError
from tests.faulty_proxy import Asked, Fault, Proxy

Fetch = Callable[..., DownloadResult]
Files = Mapping[str, bytes]

IMAGE = "sub-01/func/sub-01_task-learn_run-1_bold.nii.gz"
OTHER = "sub-02/func/sub-02_task-learn_run-2_bold.nii.gz"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "ds000900"
    (root / ".spectrum-download").mkdir(parents=True)
    return root


def _list_of(root: Path) -> Path:
    return root / ".spectrum-download/wanted.json"


def _told(root: Path, *settled: str, filters: Filters | None = None) -> list[tuple[str, str]]:
    problems = not_arrived(root, settled, filters or Filters())
    return [(problem.code, problem.path) for problem in problems]


def _verify(tmp_path: Path, **settings: object) -> list[tuple[str, str]]:
    given = {"datasets": ("ds000900",), "out": tmp_path / "raw", **settings}
    request = DownloadRequest.model_validate(given)
    result = verify(request, world=World(), on_progress=lambda *_: None)
    return [(problem.code, problem.path) for problem in result.refused]


def _refuse(*paths: str) -> Callable[[Asked], Fault | None]:
    keys = {f"ds000900/{path}" for path in paths}
    return lambda asked: Fault(status=403) if asked.key in keys else None


def test_a_download_that_did_not_bring_all_files_does_not_verify_until_it_did(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.spoil = _refuse(IMAGE)
    fetch()
    assert _verify(tmp_path) == [("not-arrived", IMAGE)]
    proxy.spoil = lambda asked: None
    fetch()
    assert _verify(tmp_path) == []
    assert not _list_of(tmp_path / "raw/ds000900").exists()


def test_what_an_earlier_request_still_misses_is_not_forgotten_by_a_later_one(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.spoil = _refuse(IMAGE)
    fetch(filters=Filters(subject=("01",)))
    fetch(filters=Filters(subject=("02",)))
    assert _verify(tmp_path) == [("not-arrived", IMAGE)]
    assert _verify(tmp_path, filters=Filters(subject=("02",))) == []


def test_a_folder_that_a_download_is_at_work_in_is_not_verified(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.spoil = _refuse(IMAGE)
    fetch()
    with (
        locked(tmp_path / "raw/ds000900/.spectrum-download"),
        pytest.raises(DownloadError, match="Another download is at work") as caught,
    ):
        _verify(tmp_path)
    assert caught.value.code == "locked"


def test_a_wrong_file_that_was_left_alone_is_neither_reported_nor_verified(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    fetch()
    path = tmp_path / "raw/ds000900" / OTHER
    path.write_bytes(bytes([dataset[OTHER][0] ^ 1]) + dataset[OTHER][1:])
    assert [(p.code, p.path) for p in fetch().refused] == [("differs", OTHER)]
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    assert OTHER not in {line["path"] for line in report["files"]}
    assert len(report["files"]) == len([p for p in dataset if "/anat/" not in p]) - 1
    assert _verify(tmp_path) == [("not-arrived", OTHER)]
    assert fetch(force=True).refused == ()
    assert _verify(tmp_path) == []


def test_a_right_file_stays_in_the_report_when_it_cannot_be_fetched_again(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    fetch()
    proxy.spoil = _refuse(IMAGE)
    assert [p.code for p in fetch(force=True).refused] == ["forbidden"]
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    assert IMAGE in {line["path"] for line in report["files"]}
    assert _verify(tmp_path) == []


def test_a_file_is_waited_for_until_a_report_names_it(root: Path) -> None:
    write_wanted(root, ["b", "a"], listed={"a", "b"})
    (root / "a").write_bytes(b"here, and never verified")
    assert _told(root) == [("not-arrived", "a"), ("not-arrived", "b")]
    forget_wanted(root, {"a"})
    assert _told(root) == [("not-arrived", "b")]
    assert _told(root, "b") == []
    forget_wanted(root, {"b"})
    assert not _list_of(root).exists()


def test_a_wish_for_what_the_data_set_no_longer_has_is_dropped(root: Path) -> None:
    write_wanted(root, ["old", "README"], listed={"old", "README"})
    write_wanted(root, ["new"], listed={"new", "README"})
    assert _told(root) == [("not-arrived", "README"), ("not-arrived", "new")]


def test_only_files_that_the_filters_choose_are_told(root: Path) -> None:
    write_wanted(root, [IMAGE, OTHER], listed={IMAGE, OTHER})
    assert _told(root, filters=Filters(subject=("01",))) == [("not-arrived", IMAGE)]


@pytest.mark.parametrize("name", ["../beside", "/etc/passwd", "a/../../b", ".git/config", "a\0b"])
def test_a_name_that_leads_outside_is_named_and_never_becomes_a_wish(
    root: Path, name: str
) -> None:
    _list_of(root).write_text(json.dumps([name, "README"]))
    assert _told(root) == [("unsafe-name", name), ("not-arrived", "README")]
    write_wanted(root, ["new"], listed={"new", "README"})
    assert json.loads(_list_of(root).read_text()) == ["README", "new"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "[" * 100_000, '["\ud800"', "null"], ids=lambda text: text[:4]
)
def test_a_list_that_cannot_be_read_does_not_pass_as_an_empty_one(root: Path, text: str) -> None:
    _list_of(root).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert _told(root) == [("not-arrived", ".spectrum-download/wanted.json")]
    write_wanted(root, ["README"], listed={"README"})
    assert _told(root) == [("not-arrived", "README")]


def test_the_list_is_neither_read_nor_written_through_a_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('["README"]')
    for name in ("wanted.json", ".wanted.json"):
        (root / ".spectrum-download" / name).symlink_to(outside)
    assert _told(root) == [("not-arrived", ".spectrum-download/wanted.json")]
    write_wanted(root, ["new"], listed={"new"})
    assert outside.read_text() == '["README"]'
    assert _told(root) == [("not-arrived", "new")]


def test_a_list_that_cannot_be_written_ends_with_a_sentence(root: Path) -> None:
    _list_of(root).mkdir()
    with pytest.raises(DownloadError, match="cannot be written"):
        write_wanted(root, ["README"], listed={"README"})
