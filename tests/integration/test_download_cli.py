"""``spectrum download`` as a user meets it: exit codes, sentences, JSON, what comes after it.

The command runs in this process; one download is a process of its own, as a shell starts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from spectrum.cli import main
from tests.faulty_proxy import Fault, Proxy, faulty_proxy
from tests.integration.download_process import run_download, visible_files
from tests.s3_server import ObjectStore, s3_server

KEYS = {
    "roots",
    "num_files",
    "num_bytes",
    "fetched_bytes",
    "unverified",
    "refused",
    "seconds",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def store(upstream: str) -> Iterator[ObjectStore]:
    store = ObjectStore(upstream)
    yield store
    store.empty()


@pytest.fixture
def proxy(upstream: str) -> Iterator[Proxy]:
    with faulty_proxy(upstream) as proxy:
        yield proxy


Ended = tuple[int, str, str]
"""Exit code, standard output, standard error."""


@pytest.fixture
def download(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command in this process."""

    def call(*arguments: str, out: Path, url: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(("download", *arguments, "--out", str(out), "--endpoint-url", url))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


def _as_ds000052(rng: np.random.Generator) -> dict[str, bytes]:
    """Thirteen subjects without sub-11, two tasks of two runs: the shape of ds000052, in small."""
    files = {"README": b"x\n", "dataset_description.json": b'{"Name": "x"}'}
    for number in sorted(set(range(1, 15)) - {11}):
        for task in ("weatherprediction", "reversalweatherprediction"):
            for run in ("1", "2"):
                stem = f"sub-{number:02d}/func/sub-{number:02d}_task-{task}_run-{run}"
                files[f"{stem}_bold.nii.gz"] = rng.bytes(int(rng.integers(20_000, 90_000)))
                files[f"{stem}_events.tsv"] = b"onset\tduration\n0\t1\n"
    return files


def test_all_subjects_of_a_data_set_arrive_with_the_right_digests(
    store: ObjectStore, proxy: Proxy, tmp_path: Path, rng: np.random.Generator
) -> None:
    files = _as_ds000052(rng)
    versions = store.put("ds000953", files)
    code, told, noted = run_download("ds000953", "--json", out=tmp_path, url=proxy.url)
    assert code == 0, noted
    result = json.loads(told)
    assert result.keys() >= KEYS
    assert result["num_files"] == len(files) == 106
    assert result["num_bytes"] == result["fetched_bytes"] == sum(map(len, files.values()))
    assert visible_files(tmp_path / "ds000953") == files
    report = json.loads((tmp_path / "ds000953/download.json").read_text())
    for line in report["files"]:
        assert line["digest"] == hashlib.md5(files[line["path"]]).hexdigest()
        assert line["version_id"] == versions[line["path"]]
    assert run_download("--verify", "ds000953", out=tmp_path, url=proxy.url)[0] == 0


def test_a_file_with_wrong_bytes_is_named_and_the_rest_is_done_in_part(
    download: Callable[..., Ended],
    store: ObjectStore,
    proxy: Proxy,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    files = _as_ds000052(rng)
    store.put("ds000953", files)
    bad = "sub-03/func/sub-03_task-weatherprediction_run-2_bold.nii.gz"
    proxy.spoil = lambda asked: Fault(is_flipped=asked.key.endswith(bad))
    arguments = ("ds000953", "--subject", "3", "--subject", "sub-04", "--json")
    code, told, noted = download(*arguments, out=tmp_path, url=proxy.url)
    assert code == 3
    assert [(p["code"], p["path"]) for p in json.loads(told)["refused"]] == [("wrong-bytes", bad)]
    assert "refused, wrong-bytes" in noted
    assert "Traceback" not in noted
    seen = visible_files(tmp_path / "ds000953")
    wanted = {path for path in files if "sub-03" in path or "sub-04" in path or "/" not in path}
    assert seen.keys() == wanted - {bad}


def test_a_dry_run_tells_files_bytes_and_free_disk_and_fetches_nothing(
    download: Callable[..., Ended],
    store: ObjectStore,
    proxy: Proxy,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    files = _as_ds000052(rng)
    store.put("ds000953", files)
    arguments = ("ds000953", "--dry-run", "--json")
    code, told, _ = download(*arguments, out=tmp_path / "new", url=proxy.url)
    result = json.loads(told)
    assert code == 0
    assert (result["num_files"], result["fetched_bytes"]) == (106, 0)
    assert result["wanted_bytes"] == sum(map(len, files.values())) < result["free_bytes"]
    assert list(tmp_path.iterdir()) == []
    assert not proxy.sent_bytes


def test_what_was_downloaded_is_inspected_as_what_was_published(
    download: Callable[..., Ended],
    store: ObjectStore,
    proxy: Proxy,
    tmp_path: Path,
    tiny_bids: Callable[..., Path],
) -> None:
    from spectrum.data.bids import index_bids

    source = tiny_bids("ds000954")
    store.put(
        "ds000954",
        {str(p.relative_to(source)): p.read_bytes() for p in source.rglob("*") if p.is_file()},
    )
    assert download("ds000954", out=tmp_path / "raw", url=proxy.url)[0] == 0
    published, arrived = index_bids([source]), index_bids([tmp_path / "raw/ds000954"])
    assert [run.key for run in arrived.runs] == [run.key for run in published.runs]
    assert len(arrived.runs) > 0
    assert [p.code for p in arrived.problems] == [p.code for p in published.problems]


def test_without_a_data_set_the_known_ones_are_listed_and_a_script_stops(
    download: Callable[..., Ended], tmp_path: Path
) -> None:
    code, told, noted = download(out=tmp_path, url="http://127.0.0.1:9")
    assert code == 2
    for line in ("ds000002   2.63 GiB  102 BOLD", "ds000052   1.09 GiB   52 BOLD"):
        assert line in told
    assert "spectrum download ds000002" in told
    assert "no data set was named" in noted


@pytest.mark.parametrize(
    ("arguments", "exit_code", "sentence"),
    [
        (("ds000002",), 1, "cannot be reached"),
        (("ds00052",), 2, "The nearest known one is ds000052"),
        (("--verify", "ds000002"), 1, "is no folder, so there is nothing to verify"),
        (("--verify", "--dry-run", "ds000002"), 2, "--verify and --dry-run were given together"),
        (("--verify", "--force", "ds000002"), 2, "--verify and --force were given together"),
        (("ds000002", "--endpoint-url", "nowhere"), 2, "endpoint_url must be http"),
    ],
)
def test_a_mistake_or_no_network_gets_one_or_two_sentences(
    download: Callable[..., Ended],
    tmp_path: Path,
    arguments: tuple[str, ...],
    exit_code: int,
    sentence: str,
) -> None:
    code, told, noted = download(
        *(word for word in arguments if word not in ("--endpoint-url", "nowhere")),
        out=tmp_path,
        url="nowhere" if "nowhere" in arguments else "http://127.0.0.1:9",
    )
    assert (code, told) == (exit_code, "")
    assert sentence in noted
    assert "Traceback" not in noted
    assert len(noted.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_to_is_told_in_two_sentences(
    download: Callable[..., Ended], store: ObjectStore, proxy: Proxy, tmp_path: Path
) -> None:
    store.put("ds000953", {"README": b"x"})
    (tmp_path / "file").write_bytes(b"")
    code, told, noted = download("ds000953", out=tmp_path / "file/raw", url=proxy.url)
    assert (code, told) == (1, "")
    assert "cannot be written" in noted
    assert "--out" in noted
    assert "Traceback" not in noted


def test_what_became_of_every_file_alike_is_told_once_and_in_json_of_each(
    download: Callable[..., Ended], store: ObjectStore, proxy: Proxy, tmp_path: Path
) -> None:
    store.put("ds000953", {f"task-{letter}_bold.json": b"{}" for letter in "abcdefg"})
    proxy.spoil = lambda asked: Fault(status=403)
    code, told, noted = download("ds000953", "--json", out=tmp_path, url=proxy.url)
    assert code == 3
    assert [p["code"] for p in json.loads(told)["refused"]] == ["forbidden"] * 7
    assert noted.count("refused, forbidden") == 1
    assert "So it is with all 7 files" in noted
