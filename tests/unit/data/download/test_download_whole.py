"""A whole download: what arrives, what is said of it, what is left alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spectrum.config import config_from_mapping
from spectrum.data.download import DownloadRequest, World, plan_download, verify
from spectrum.data.download.config import Filters
from spectrum.data.download.service import DownloadResult
from spectrum.errors import ConfigError, DownloadError
from tests.faulty_proxy import Proxy
from tests.s3_server import ObjectStore

Fetch = Callable[..., DownloadResult]
Files = Mapping[str, bytes]


def _tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "download.json"
    }


def _default(files: Files) -> dict[str, bytes]:
    return {path: body for path, body in files.items() if "/anat/" not in path}


def test_images_events_sidecars_and_text_arrive_whole_and_anatomy_does_not(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    result = fetch()
    assert _tree(tmp_path / "raw/ds000900") == _default(dataset)
    assert result.refused == ()
    assert result.fetched_bytes == sum(map(len, _default(dataset).values()))


def test_everything_is_everything(fetch: Fetch, dataset: Files, tmp_path: Path) -> None:
    fetch(filters=Filters(everything=True))
    assert _tree(tmp_path / "raw/ds000900") == dict(dataset)


def test_each_file_stands_in_the_report_with_what_it_was_held_against(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    fetch(World(now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)))
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    assert report["date"] == "2026-01-02T03:04:05+00:00"
    assert {line["path"]: line["bytes"] for line in report["files"]} == {
        path: len(body) for path, body in _default(dataset).items()
    }
    for line in report["files"]:
        assert line["digest_kind"] == "etag"
        assert line["digest"] == hashlib.md5(dataset[line["path"]]).hexdigest()
        assert line["status"] == "verified"


def test_the_report_names_the_version_that_each_file_is_of(
    fetch: Fetch, dataset: Files, store: ObjectStore, tmp_path: Path
) -> None:
    versions = store.put("ds000900", _default(dataset))
    fetch()
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    assert {line["path"]: line["version_id"] for line in report["files"]} == versions


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint_url": "http://user:secret@127.0.0.1:9"},
        {"endpoint_url": "s3://openneuro.org"},
        {"endpoint_url": "http://127.0.0.1:9/path"},
        {"snapshots_url": "http://user:secret@127.0.0.1:9"},
        {"snapshots_url": "file:///etc/passwd"},
    ],
)
def test_an_address_that_could_carry_a_password_is_refused_without_repeating_it(
    settings: dict[str, str],
) -> None:
    with pytest.raises(ConfigError, match="_url must be") as caught:
        config_from_mapping(DownloadRequest, {"datasets": ("ds000900",), **settings})
    assert "secret" not in str(caught.value)


def test_a_known_data_set_that_was_fetched_otherwise_can_be_verified(tmp_path: Path) -> None:
    image = tmp_path / "ds000052/sub-01/func/sub-01_task-weatherprediction_run-1_bold.nii.gz"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"not the image")
    request = DownloadRequest(
        datasets=("ds000052",), out=tmp_path, filters=Filters(subject=("1",))
    )
    result = verify(request, world=World(), on_progress=lambda *_: None)
    codes = [problem.code for problem in result.refused]
    assert sorted(codes) == ["missing", "missing", "missing", "wrong-size"]


def test_a_second_download_fetches_nothing(fetch: Fetch, dataset: Files, proxy: Proxy) -> None:
    fetch()
    proxy.sent_bytes.clear()
    result = fetch()
    assert result.fetched_bytes == 0
    assert sum(proxy.sent_bytes.values()) == 0
    assert len(result.records) == len(_default(dataset))


def test_force_fetches_again(fetch: Fetch, dataset: Files) -> None:
    first = fetch()
    assert fetch(force=True).fetched_bytes == first.fetched_bytes > 0


def test_a_later_download_of_another_subject_keeps_the_first_in_the_report(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    fetch(filters=Filters(subject=("01",)))
    fetch(filters=Filters(subject=("02",)))
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    assert {line["path"] for line in report["files"]} == set(_default(dataset))


def test_a_file_that_someone_else_put_there_is_left_alone_and_named(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    path = tmp_path / "raw/ds000900/sub-01/func/sub-01_task-learn_run-1_events.tsv"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"my own notes")
    result = fetch()
    assert [(p.code, p.path) for p in result.refused] == [
        ("differs", "sub-01/func/sub-01_task-learn_run-1_events.tsv")
    ]
    assert path.read_bytes() == b"my own notes"
    assert fetch(force=True).refused == ()
    assert path.read_bytes() == dataset["sub-01/func/sub-01_task-learn_run-1_events.tsv"]


def test_a_file_of_ours_that_the_data_set_has_changed_is_brought_up_to_date(
    fetch: Fetch, dataset: Files, store: ObjectStore, tmp_path: Path
) -> None:
    fetch()
    store.put("ds000900", {"README": b"three subjects, in fact\n"})
    result = fetch()
    assert result.refused == ()
    assert (tmp_path / "raw/ds000900/README").read_bytes() == b"three subjects, in fact\n"


def test_a_multipart_upload_is_said_to_be_unverified(
    fetch: Fetch, dataset: Files, store: ObjectStore, tmp_path: Path
) -> None:
    path = "sub-03/func/sub-03_task-learn_run-1_bold.nii.gz"
    store.put_in_parts("ds000900", path, bytes(range(256)) * 25_000)
    result = fetch()
    assert result.as_json()["unverified"] == [path]
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    line = next(line for line in report["files"] if line["path"] == path)
    assert (line["digest_kind"], line["status"]) == ("none", "unverified")
    assert fetch().fetched_bytes == 0


def test_nothing_that_could_log_in_is_ever_sent(
    fetch: Fetch, dataset: Files, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "CANARY")
    monkeypatch.setenv("AWS_PROFILE", "CANARY")
    fetch()
    assert proxy.asked
    for asked in proxy.asked:
        assert "CANARY" not in str(asked.headers)
        assert not {"authorization", "cookie"} & {name.lower() for name in asked.headers}


def test_verification_fetches_nothing_and_names_each_file_that_is_wrong(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    fetch()
    root = tmp_path / "raw/ds000900"
    request = DownloadRequest(datasets=("ds000900",), out=tmp_path / "raw", endpoint_url=proxy.url)
    assert verify(request, world=World(), on_progress=lambda *_: None).refused == ()
    (root / "README").unlink()
    (root / "dataset_description.json").write_bytes(b"{}")
    image = root / "sub-02/func/sub-02_task-learn_run-2_bold.nii.gz"
    image.write_bytes(bytes([image.read_bytes()[0] ^ 1]) + image.read_bytes()[1:])
    proxy.asked.clear()
    result = verify(request, world=World(), on_progress=lambda *_: None)
    assert {(p.code, p.path) for p in result.refused} == {
        ("missing", "README"),
        ("wrong-size", "dataset_description.json"),
        ("wrong-bytes", "sub-02/func/sub-02_task-learn_run-2_bold.nii.gz"),
    }
    assert proxy.asked == []


def test_too_little_disk_space_is_told_before_anything_is_fetched(
    fetch: Fetch, dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    wanted = sum(map(len, _default(dataset).values()))
    with pytest.raises(DownloadError, match=f"{wanted - 1000} are missing") as caught:
        fetch(World(free_bytes=lambda folder: 1000))
    assert caught.value.code == "disk-full"
    assert not (tmp_path / "raw").exists()
    assert sum(proxy.sent_bytes.values()) == 0


def test_a_plan_tells_files_and_bytes_and_writes_nothing(
    dataset: Files, proxy: Proxy, tmp_path: Path
) -> None:
    request = DownloadRequest(datasets=("ds000900",), out=tmp_path / "raw", endpoint_url=proxy.url)
    planned = plan_download(request, world=World(free_bytes=lambda folder: 7))
    assert planned.num_files == len(_default(dataset))
    assert planned.num_bytes == sum(map(len, _default(dataset).values()))
    assert planned.as_json(request)["free_bytes"] == 7
    assert list(tmp_path.iterdir()) == []


def test_a_filter_that_fits_nothing_names_the_nearest_value(fetch: Fetch, dataset: Files) -> None:
    with pytest.raises(ConfigError, match="The nearest one is learn"):
        fetch(filters=Filters(task=("lern",)))


def test_an_accession_that_is_not_there_is_said_so(fetch: Fetch, dataset: Files) -> None:
    with pytest.raises(DownloadError, match="has no files of ds000901") as caught:
        fetch(datasets=("ds000901",))
    assert caught.value.code == "no-dataset"


@pytest.mark.parametrize(
    "name", ["ds00002", "000002", "../ds000002", "ds000002/sub-01", "DS000002"]
)
def test_a_name_that_is_no_accession_is_refused_with_the_nearest_one(
    fetch: Fetch, name: str
) -> None:
    with pytest.raises(ConfigError, match="The nearest known one is ds000002"):
        fetch(datasets=(name,))


def test_state_of_the_download_is_gone_when_all_is_there(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    fetch()
    assert [path.name for path in (tmp_path / "raw/ds000900").glob(".*")] == []
