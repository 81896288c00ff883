"""What the command line makes of addresses before anything is asked of a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.cli.stored import stored_words
from spectrum.errors import StorageError
from spectrum.storage import address_of


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
