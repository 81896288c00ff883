"""Where working copies lie, who may read them, and what is no address."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.errors import StorageError
from spectrum.storage import address_of, working_copy


def test_a_working_copy_is_its_users_alone_and_knows_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))
    copy = working_copy("s3://lab/studies/")

    assert copy.path.stat().st_mode & 0o777 == 0o700
    assert address_of(copy.path / "joint") == "s3://lab/studies/joint"
    assert working_copy("s3://lab/studies") == copy


@pytest.mark.parametrize(
    "address",
    [
        "s3://KEY:secret@lab/studies",
        "s3://secret@lab/studies",
        "S3://KEY:secret@lab/studies",
        "abfs://lab:secret@account.dfs.core.windows.net/studies",
        "s3://lab/studies?access_key=secret",
    ],
)
def test_credentials_in_an_address_are_refused_and_told_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(StorageError) as refusal:
        working_copy(address)

    assert "secret@" not in str(refusal.value)
    assert "=secret" not in str(refusal.value)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_made_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError, match="SPECTRUM_STORAGE_CACHE"):
        working_copy("s3://lab/studies")


def test_a_folder_from_elsewhere_is_sent_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))
    (tmp_path / ".address").write_text("s3://elsewhere/studies")

    assert address_of(tmp_path / "studies") is None


def test_a_cache_that_is_a_link_is_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("SPECTRUM_STORAGE_CACHE", str(tmp_path / "cache"))
    folder = working_copy("s3://lab/studies").path / "joint"

    assert address_of(folder) == address_of(folder.resolve()) == "s3://lab/studies/joint"
