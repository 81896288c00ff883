"""What a node finds at the stores of a study: the driver's mark, another store, or none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from spectrum.errors import StorageError
from spectrum.search.shared_stores import marked, reach
from spectrum.storage import ObjectStore, Patience
from tests.s3_server import s3_environment, s3_process

ADDRESS = "s3://lab/studies/joint"


def test_a_node_that_reaches_the_store_finds_nothing_wrong_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    address = f"file://{tmp_path / 'store'}"
    with marked([address]) as marks:
        assert reach(marks, "node") == []
        assert ObjectStore(address).names() == [marks.name]
    assert ObjectStore(address).names() == []


def test_another_store_of_the_same_address_is_found_out(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with marked([f"file://{store}"]) as marks:
        store.rename(tmp_path / "elsewhere")
        (problem,) = reach(marks, "node")
    assert problem.startswith(f"finds another store at file://{store}")


def test_a_node_without_the_settings_of_the_driver_is_told_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"http://127.0.0.1:{server.getsockname()[1]}"
    with s3_process("lab") as url:
        for name, value in s3_environment(url).items():
            monkeypatch.setenv(name, value)
        with marked([ADDRESS]) as marks:
            assert reach(marks, "node") == []
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
            problems = reach(marks, "node", Patience(first_s=1.0))

    assert problems[1].startswith(f"cannot use {ADDRESS}: ")
    assert f"(AWS_ENDPOINT_URL: {nowhere})" in problems[1]
    assert problems[0] == (
        "lacks AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, set where the search began"
    )


def test_a_store_that_this_machine_may_not_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    with (
        pytest.raises(StorageError, match="cannot be written"),
        marked([f"file://{tmp_path}/store"]),
    ):
        pass
