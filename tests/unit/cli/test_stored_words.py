"""What the command line makes of addresses before anything is asked of a store."""

from __future__ import annotations

import pwd
import socket
import time
from pathlib import Path

import pytest

from spectrum.cli import main
from spectrum.cli.stored import stored_words, with_addresses
from spectrum.errors import StorageError
from spectrum.storage import address_of, working_copy
from tests.s3_server import s3_environment


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "value", ["s4://lab/studies", "S3://lab/studies", "s3:/lab/studies", "s3://lab/s?region=x"]
)
@pytest.mark.parametrize("shape", ["two words", "one word"])
def test_a_folder_of_studies_that_is_nearly_an_address_is_no_folder(
    value: str, shape: str
) -> None:
    words = ["--studies", value] if shape == "two words" else [f"--studies={value}"]
    with pytest.raises(StorageError, match="is no address of a store"), stored_words(words):
        pass


def test_other_words_with_schemes_stay(tmp_path: Path) -> None:
    words = ["search", "--aim", "aim://host:53800", "--address", "ray://head:10001"]
    with stored_words(words) as local:
        assert local == words
    with stored_words(["search", "--studies", "s3://lab/studies"]) as local:
        assert address_of(Path(local[2])) == "s3://lab/studies"


def test_words_for_another_machine_keep_their_addresses() -> None:
    words = ["--quiet", "submit", "joint.yaml", "/data", "--studies", "s3://lab/studies"]
    with stored_words(words) as local:
        assert local == words


@pytest.mark.slow
@pytest.mark.beside
def test_a_command_whose_store_never_answers_soon_says_what_to_check(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    for name, value in s3_environment(url).items():
        monkeypatch.setenv(name, value)
    begin = time.monotonic()
    with pytest.raises(SystemExit):
        main(["study", "show", "s3://lab/studies/joint"])

    assert time.monotonic() - begin < 60.0, "ten minutes are for a store that has answered"
    told = capfd.readouterr().err
    assert "s3://lab/studies/joint: latest.json cannot be read for 10 s" in told
    assert f"check the address, the endpoint (AWS_ENDPOINT_URL: {url}), this machine's" in told


@pytest.mark.parametrize(
    "words",
    [
        ["study", "show"],
        ["study", "rm"],
        ["study", "track"],
        ["report"],
        ["evaluate"],
        ["unseal"],
        ["export"],
    ],
    ids=" ".join,
)
def test_a_wrong_name_at_an_address_is_told_by_the_address(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"file://{tmp_path / 'store' / 'wrong'}"
    more = {"export": [str(tmp_path / "out")], "unseal": [str(tmp_path)]}
    with pytest.raises(SystemExit):
        main([*words, address, *more.get(words[0], [])])

    told = capfd.readouterr().err
    assert told.startswith(f"spectrum: {address} holds no "), told
    assert "cache" not in told


def test_a_place_without_studies_is_listed_by_its_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"file://{tmp_path / 'store'}"
    with pytest.raises(SystemExit) as end:
        main(["study", "list", address])

    assert end.value.code == 0
    assert capfd.readouterr().out == f"{address} holds no study.\n"


def test_an_error_about_a_file_of_a_copy_names_the_address_too() -> None:
    copy = working_copy("s3://lab/studies")
    told = f"{copy.path}/joint/trials.jsonl is damaged. Restore the file."

    assert with_addresses(told) == f"{told} {copy.path} is this machine's copy of {copy.address}."
    assert with_addresses("studies/joint is damaged.") == "studies/joint is damaged."


def test_a_message_stays_as_it_is_where_no_home_folder_can_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "XDG_CACHE_HOME", "SPECTRUM_STORAGE_CACHE"):
        monkeypatch.delenv(variable, raising=False)

    assert with_addresses("studies/joint is damaged.") == "studies/joint is damaged."


def test_a_message_stays_as_it_is_where_what_it_names_cannot_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    told = f"{tmp_path / 'cache' / ('a' * 300)} is damaged."

    assert with_addresses(told) == told
