"""Where a file's digest comes from: facts, the snapshot listing, the bucket."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spectrum.data.download.config import ENDPOINT_URL, SNAPSHOTS_URL, DownloadRequest, Filters
from spectrum.data.download.digests import digest_of, digest_of_etag, digest_of_id
from spectrum.data.download.known import KNOWN_DATASETS, known_files
from spectrum.data.download.service import DownloadResult
from tests.faulty_proxy import Proxy
from tests.s3_server import ObjectStore

Fetch = Callable[..., DownloadResult]
Files = Mapping[str, bytes]

IMAGE = "sub-01/func/sub-01_task-learn_run-1_bold.nii.gz"
EVENTS = "sub-01/func/sub-01_task-learn_run-1_events.tsv"
MD5, SHA256, SHA1 = "0" * 32, "1" * 64, "2" * 40


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"MD5E-s7--{MD5}.nii.gz", "md5"),
        (f"MD5-s7--{MD5}", "md5"),
        (f"SHA256E-s7--{SHA256}.tar.gz", "sha256"),
        (f"SHA256-s7--{SHA256}", "sha256"),
        (SHA1, "git-sha1"),
        (f"MD5E-s8--{MD5}.nii.gz", "none"),
        (f"MD5E-s7--{MD5}0.nii.gz", "none"),
        (f"SHA256E-s7--{MD5}.nii.gz", "none"),
        (f"SHA1-s7--{SHA1}", "none"),
        (f"MD5E-s7-m3--{MD5}.nii.gz", "none"),
        ("URL-s7--http&c%%example.org", "none"),
        (f"{SHA1}0", "none"),
        ("", "none"),
    ],
)
def test_an_id_tells_a_digest_only_in_a_form_that_is_known(text: str, kind: str) -> None:
    assert digest_of_id(text, num_bytes=7).kind == kind


def test_only_the_etag_of_a_single_part_upload_is_a_digest() -> None:
    assert digest_of_etag(f'"{MD5}"').kind == "etag"
    assert digest_of_etag(f'"{MD5}-3"').kind == "none"
    assert digest_of_etag("").kind == "none"


@pytest.mark.parametrize("body", [b"", b"onset\tduration\n", bytes(range(256)) * 9_000])
def test_digests_are_those_of_the_standard_tools(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(body)
    assert digest_of(path, "md5").value == hashlib.md5(body).hexdigest()
    assert digest_of(path, "sha256").value == hashlib.sha256(body).hexdigest()
    blob = b"blob %d\0" % len(body) + body
    assert digest_of(path, "git-sha1").value == hashlib.sha1(blob).hexdigest()


def test_an_empty_git_blob_has_the_name_that_git_gives_it(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    found = digest_of(tmp_path / "empty", "git-sha1").value
    assert found == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_the_facts_name_the_312_images_of_the_four_data_sets() -> None:
    counts = {known.name: len(known.bold) for known in KNOWN_DATASETS}
    assert counts == {"ds000002": 102, "ds000011": 84, "ds000017": 74, "ds000052": 52}
    for known in KNOWN_DATASETS:
        for file in known.bold:
            assert file.key == f"{known.name}/{file.path}"
            assert file.version_id
            assert len(file.md5) == 32
    gigabytes = [sum(f.num_bytes for f in known.bold) / 1e9 for known in KNOWN_DATASETS]
    assert [round(size, 2) for size in gigabytes] == [2.83, 2.39, 2.20, 1.17]


def test_the_facts_are_those_of_the_real_tables(realdata: Path) -> None:
    import csv

    for known in KNOWN_DATASETS:
        with (realdata / known.name / "images.tsv").open(encoding="utf-8") as table:
            rows = {row["path"]: row for row in csv.DictReader(table, delimiter="\t")}
        facts = {file.path: file for file in known.bold}
        assert facts.keys() == rows.keys()
        for path, row in rows.items():
            fact = facts[path]
            assert (fact.num_bytes, fact.md5) == (int(row["bytes"]), row["md5"])
            assert (fact.key, fact.version_id) == (row["s3_key"], row["s3_version_id"])


def test_known_images_are_held_against_the_facts_and_nothing_else(
    fetch: Fetch, store: ObjectStore
) -> None:
    """A mirror with an image of the right size and other bytes, or of another size."""
    paths = sorted(known_files("ds000052"))
    small = next(path for path in paths if path.endswith("aMRIQC.csv"))
    fact = known_files("ds000052")[small]
    image = next(path for path in paths if path.endswith("run-1_bold.nii.gz"))
    store.put("ds000052", {small: b"x" * fact.num_bytes, image: b"tiny", "README": b"r"})
    chosen = Filters(subject=("01",), everything=True)
    result = fetch(datasets=("ds000052",), filters=chosen)
    codes = {problem.path: problem.code for problem in result.refused}
    assert codes[small] == "wrong-bytes"
    assert codes[image] == "wrong-size"
    assert "not-found" in set(codes.values())
    assert [record.path for record in result.records] == ["README"]


@contextmanager
def _snapshot_service(answer: Callable[[bytes], tuple[int, Any]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            status, value = answer(asked)
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response_only(status)
            self.send_header("Location", "http://127.0.0.2:9/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/crn/graphql"
    finally:
        server.shutdown()
        server.server_close()


def _listing(files: Files, versions: Mapping[str, str]) -> dict[str, Any]:
    """What OpenNeuro answers: annex keys for images, git blobs for text."""

    def line(path: str, body: bytes) -> dict[str, Any]:
        if path.endswith(".nii.gz"):
            file_id = f"MD5E-s{len(body)}--{hashlib.md5(body).hexdigest()}.nii.gz"
        else:
            file_id = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
        version = versions.get(path, "")
        url = f"https://s3.amazonaws.com/openneuro.org/ds000900/{path}?versionId={version}"
        urls = [url] if version else []
        return {"filename": path, "size": len(body), "id": file_id, "urls": urls}

    lines = [line(path, body) for path, body in files.items()]
    return {"data": {"dataset": {"latestSnapshot": {"id": "ds000900:1.0.0", "files": lines}}}}


def test_the_snapshot_listing_tells_the_digest_of_every_file(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    with _snapshot_service(lambda asked: (200, _listing(dataset, {}))) as url:
        result = fetch(snapshots_url=url)
    assert result.refused == ()
    assert result.as_json()["verified_by"] == {"md5": 4, "git-sha1": 7}
    report = json.loads((tmp_path / "raw/ds000900/download.json").read_text())
    assert report["snapshot"] == "ds000900:1.0.0"


def test_bytes_that_were_wrong_when_they_were_uploaded_are_found(
    fetch: Fetch, dataset: Files, store: ObjectStore
) -> None:
    """The bucket's own ETag fits these bytes; the key that was published does not."""
    store.put("ds000900", {IMAGE: dataset[IMAGE][:-1] + b"?"})
    with _snapshot_service(lambda asked: (200, _listing(dataset, {}))) as url:
        result = fetch(snapshots_url=url)
    assert [(p.code, p.path) for p in result.refused] == [("wrong-bytes", IMAGE)]


def test_the_version_that_a_snapshot_names_is_fetched_and_not_the_newest(
    fetch: Fetch, dataset: Files, store: ObjectStore, tmp_path: Path
) -> None:
    versions = store.put("ds000900", {path: dataset[path] for path in (IMAGE, EVENTS)})
    store.put("ds000900", {IMAGE: b"newer", EVENTS: b"newer"})
    with _snapshot_service(lambda asked: (200, _listing(dataset, versions))) as url:
        assert fetch(snapshots_url=url).refused == ()
    for path in (IMAGE, EVENTS):
        assert (tmp_path / "raw/ds000900" / path).read_bytes() == dataset[path]


def test_a_mirror_that_lacks_the_version_serves_the_current_object_if_it_verifies(
    fetch: Fetch, dataset: Files, tmp_path: Path
) -> None:
    versions = dict.fromkeys((IMAGE, EVENTS), "00000000-0000-0000-0000-000000000000")
    with _snapshot_service(lambda asked: (200, _listing(dataset, versions))) as url:
        assert fetch(snapshots_url=url).refused == ()
    assert (tmp_path / "raw/ds000900" / IMAGE).read_bytes() == dataset[IMAGE]


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (500, b"no"),
        (302, b""),
        (200, b"<html>"),
        (200, {"errors": [{"message": "no such data set"}], "data": None}),
        (200, {"data": {"dataset": {"latestSnapshot": {"id": "x", "files": [{"filename": 3}]}}}}),
    ],
)
def test_without_a_snapshot_listing_the_bucket_is_asked_and_that_is_said(
    fetch: Fetch, dataset: Files, status: int, value: Any
) -> None:
    with _snapshot_service(lambda asked: (status, value)) as url:
        result = fetch(snapshots_url=url)
    assert result.refused == ()
    assert len(result.notes) == 1
    assert "ETags" in result.notes[0]
    assert result.as_json()["verified_by"] == {"etag": 11}


def test_a_mirror_is_not_bypassed_for_digests(proxy: Proxy) -> None:
    assert DownloadRequest(datasets=("ds000900",)).snapshots_url == SNAPSHOTS_URL
    real = DownloadRequest(datasets=("ds000900",), endpoint_url=f"{ENDPOINT_URL}/")
    assert real.snapshots_url == SNAPSHOTS_URL
    mirror = DownloadRequest(datasets=("ds000900",), endpoint_url=proxy.url)
    assert mirror.snapshots_url is None
